"""What GRPO is set to: the papers' tables, what is refused, and how the model is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.protocol.dialects import Dialect
from agent.training.rewards import RewardName
from models.errors import TrainingRefused
from models.training.grpo_settings import PRESETS, GrpoSettings, Sampler, settings_of


def test_medsam_agents_table() -> None:
    preset = PRESETS["medsam-agent"]
    assert (preset.group, preset.prompts, preset.updates, preset.per_device) == (8, 8, 1, 1)
    assert (preset.learning_rate, preset.kl, preset.clip, preset.temperature) == (1e-6, 0, 0.2, 1.0)
    assert (preset.turns, preset.save_every, preset.dialect) == (5, 200, Dialect.TOOL_CALL)
    assert (preset.loss, preset.reward) == ("grpo", RewardName.MEDSAM_AGENT)


def test_ibis_agents_table() -> None:
    preset = PRESETS["ibis"]
    assert (preset.group, preset.prompts, preset.updates, preset.per_device) == (4, 256, 2, 16)
    assert (preset.learning_rate, preset.kl, preset.turns, preset.save_every) == (1e-6, 0, 20, 40)
    assert (preset.dialect, preset.reward) == (Dialect.THINK_ACTION, RewardName.IBIS)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"turns": 0}, "turns is at least 1, not 0"),
        ({"steps": 0}, "steps is at least 1"),
        ({"prompts": 0}, "prompts is at least 1"),
        ({"updates": 0}, "updates is at least 1"),
        ({"per_device": 0}, "per_device is at least 1"),
        ({"reply_tokens": 0}, "reply_tokens is at least 1"),
        ({"save_every": 0}, "save_every is a multiple of updates"),
        ({"save_every": 3, "updates": 2}, r"multiple of updates \(2\), not 3"),
        ({"group": 1}, "a group has at least 2 episodes"),
        ({"temperature": 0.0}, "temperature is above 0"),
        ({"kl": -0.1}, "not negative"),
        ({"learning_rate": -1e-6}, "not negative"),
        ({"clip": -0.2}, "not negative"),
        ({"warmup": -1}, "not negative"),
        ({"image_px": 0}, "image_px is at least 28"),
        ({"sampler": Sampler.VLLM_SERVER}, "say where the vLLM server is"),
        ({"sampler_memory": 1.0}, "sampler_memory is a share of a GPU, 0..1, not 1.0"),
        ({"sampler_gpus": 0}, "sampler_gpus is at least 1"),
        ({"sampler_url": "http://host:8000"}, "only a vLLM server has a URL"),
    ],
)
def test_what_cannot_be_is_refused(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TrainingRefused, match=sentence):
        GrpoSettings(**changed)


def test_the_model_is_asked_at_one_temperature_whatever_went_before() -> None:
    language = GrpoSettings(temperature=0.9, reply_tokens=64, image_px=256).language
    assert [language.temperature_after(failures) for failures in (0, 3)] == [0.9, 0.9]
    assert (language.max_new_tokens, language.image_px, language.history) == (64, 256, True)
    assert not language.offers_tools


def test_a_preset_is_changed_by_what_is_said() -> None:
    changes = {"reward": "segnode", "group": 4, "kl": None, "sampler": "vllm-colocated"}
    settings = settings_of("medsam-agent", changes)
    assert settings.reward is RewardName.SEGNODE
    assert settings.sampler is Sampler.VLLM_COLOCATED
    assert (settings.group, settings.kl, settings.save_every) == (4, 0.0, 200)
    assert settings_of(None, {"dialect": "think_action"}).dialect is Dialect.THINK_ACTION


def test_nothing_is_said_too() -> None:
    changes = {"learning_rate": 0.0, "clip": 0.0, "seed": 0}
    settings = settings_of(None, changes)
    assert (settings.learning_rate, settings.clip) == (0.0, 0.0)


def test_a_preset_of_nobody_is_refused() -> None:
    with pytest.raises(TrainingRefused, match="there is no preset 'gpt': choose one of"):
        settings_of("gpt", {})


def test_its_record_is_json() -> None:
    record = GrpoSettings(prompts_folder=Path("site/prompts")).record
    assert json.loads(json.dumps(record))["prompts_folder"] == "site/prompts"
    assert record["reward"] == "segnode"


def test_rows_in_one_pass_do_not_tell_a_run_from_another() -> None:
    whole, fewer = GrpoSettings(per_device=8), GrpoSettings(per_device=2)
    assert whole.identity == fewer.identity != GrpoSettings(per_device=8, group=4).identity
    assert whole.record["per_device"] == 8


@pytest.mark.parametrize(("turns", "review", "carry"), [(5, 3, 2), (1, 1, 1)])
def test_no_episode_has_more_turns_than_its_tokens_have_room_for(
    turns: int, review: int, carry: int
) -> None:
    limits = GrpoSettings(turns=turns).limits

    assert (limits.max_turns, limits.review_turns, limits.carry_turns) == (turns, review, carry)
