"""`segnode train grpo`: what is said on the command line reaches the run, and what came of it is
told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.training.rewards import RewardName
from models.training.grpo_settings import PRESETS as KNOWN_PRESETS
from models.training.grpo_settings import GrpoSettings, settings_of
from server.cli import main
from server.commands.train_grpo import PRESETS, REWARDS

WORDS = ["train", "grpo", "data", "--base", "base", "--out", "run"]


@dataclass
class Training:
    """Stands for what composes a run: remembers it, and gives a result."""

    runs: list[tuple[Any, GrpoSettings, Any]] = field(default_factory=list)

    def __call__(self, process: str) -> Any:
        assert process == "training.grpo"
        return SimpleNamespace(
            GrpoRun=lambda *of: of,
            base_folder=lambda _, base: base,
            settings_of=settings_of,
            run=self._run,
        )

    def _run(self, site: Any, training: GrpoSettings, of: Any, tell: Any) -> Any:
        self.runs.append((site, training, of))
        tell("step 1 of 2, reward 0.250")
        return SimpleNamespace(
            model=Path("run/model"), steps=2, reward_first=0.25, reward_last=0.75
        )


def test_only_what_is_said_is_set(capsys: pytest.CaptureFixture[str]) -> None:
    training = Training()

    assert main(WORDS, training) == 0

    ((site, settings, of),) = training.runs
    assert settings == GrpoSettings()
    assert of == (Path("data"), "train", Path("base"), Path("run"), 1, False, False, "", None)
    assert site.agent.segmenter == "auto"
    told = capsys.readouterr().out
    assert "2 steps, mean reward 0.250 at first, 0.750 at last" in told
    assert "the model is in run/model" in told


def test_all_that_is_said_reaches_the_run() -> None:
    training = Training()
    said = (
        "--from corrections --segmenter fake --segmenter-url http://g:8200 "
        "--segmenter-token token --split test --slices 3 --preset ibis --resume "
        "--reward medsam-agent --dialect tool_call --loss dapo --scale-rewards none "
        "--sampler vllm-server --sampler-memory 0.4 --sampler-gpus 2 "
        "--sampler-url http://h:1 --prompts-folder site --dynamic-sampling --group 2 --prompts 3 "
        "--updates 4 --per-device 5 --steps 6 --turns 7 --learning-rate 1e-5 --warmup 9 --clip 0.1 "
        "--clip-high 0.3 --kl 0.01 --temperature 0.9 --reply-tokens 8 --completion-tokens 99 "
        "--image-px 64 --lora 16 --save-every 12 --seed 11"
    )

    assert main([*WORDS, *said.split()], training) == 0

    ((site, settings, of),) = training.runs
    assert site.agent.segmenter == "fake"
    assert of[:7] == (Path("data"), "test", Path("base"), Path("run"), 3, True, True)
    assert of[7:] == ("http://g:8200", Path("token"))
    assert settings.record == {
        "reward": "medsam-agent",
        "dialect": "tool_call",
        "overlay": "contour",
        "repeat_pictures": False,
        "turns": 7,
        "steps": 6,
        "prompts": 3,
        "group": 2,
        "updates": 4,
        "per_device": 5,
        "learning_rate": 1e-5,
        "warmup": 9,
        "clip": 0.1,
        "clip_high": 0.3,
        "kl": 0.01,
        "temperature": 0.9,
        "loss": "dapo",
        "scale_rewards": "none",
        "dynamic_sampling": True,
        "reply_tokens": 8,
        "completion_tokens": 99,
        "image_px": 64,
        "prompts_folder": "site",
        "lora_rank": 16,
        "save_every": 12,
        "seed": 11,
        "sampler": "vllm-server",
        "sampler_url": "http://h:1",
        "sampler_memory": 0.4,
        "sampler_gpus": 2,
    }


def test_the_sites_prompts_are_those_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGNODE_LANGUAGE__PROMPTS", "site/prompts")
    training = Training()

    assert main(WORDS, training) == 0

    assert training.runs[0][1].prompts_folder == Path("site/prompts")


def test_what_cannot_be_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--group", "1"], Training()) == 1

    assert "a group has at least 2 episodes" in capsys.readouterr().err


def test_the_choices_are_those_that_there_are() -> None:
    assert tuple(RewardName) == REWARDS
    assert tuple(KNOWN_PRESETS) == PRESETS
