"""GRPO of adapters: they alone change, are kept alone, and are served merged or beside the base."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("trl")

import torch
from peft import PeftModel
from safetensors.torch import load_file

from agent.actions import AddBox, Malformed
from agent.language.policy import LanguagePolicy
from agent.language.settings import LanguageSettings
from models.training.grpo_settings import GrpoSettings
from tests.support.training.killed_grpo import train_on_squares

STEPS = 2


@pytest.fixture(scope="module")
def settings(toy: ModuleType, quick: GrpoSettings) -> GrpoSettings:
    return replace(
        quick,
        steps=STEPS,
        lora_rank=4,
        learning_rate=2e-2,
        group=8,
        per_device=8,
        reply_tokens=toy.REPLY_TOKENS,
    )


@pytest.fixture(scope="module")
def adapted(taught: Path, settings: GrpoSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of adapters."""
    out = tmp_path_factory.mktemp("adapted") / "run"
    train_on_squares(taught, out, 2, settings)
    return out


def test_nothing_but_linear_maps_of_the_language_layers_changes(
    adapted: Path, taught: Path
) -> None:
    before = load_file(taught / "model.safetensors")
    after = load_file(adapted / "model" / "model.safetensors")

    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(changed) == len({name for name in before if is_adapted(name)})
    assert all(map(is_adapted, changed))


def is_adapted(name: str) -> bool:
    return ".language_model.layers." in name and name.endswith("_proj.weight")


def test_checkpoints_hold_adapters_alone(adapted: Path) -> None:
    kept = adapted / "checkpoints" / f"checkpoint-{STEPS}"

    names = {file.name for file in kept.glob("*.safetensors")}
    assert names == {"adapter_model.safetensors"}
    weights = load_file(kept / "adapter_model.safetensors")
    assert all("lora_" in name and "visual" not in name for name in weights)
    assert any(weight.abs().max() > 0 for name, weight in weights.items() if "lora_B" in name)


@pytest.mark.parametrize("way", ["merged", "beside the base"])
def test_it_is_served(
    toy: ModuleType, adapted: Path, taught: Path, prompts: Path, tmp_path: Path, way: str
) -> None:
    """By the policy that serves: as the run leaves it, and as the last adapters on the base."""
    from models.policies.chat.in_process.transformers_chat import TransformersChat

    folder = adapted / "model"
    if way != "merged":
        base = toy.load_toy(taught)
        on_base = PeftModel.from_pretrained(base.model, str(folder / "adapter"))
        folder = tmp_path / "model"
        on_base.merge_and_unload().save_pretrained(folder)
        base.processor.save_pretrained(folder)
        ours = load_file(folder / "model.safetensors")
        merged = load_file(adapted / "model" / "model.safetensors")
        assert all(torch.equal(ours[name], merged[name]) for name in merged)
    policy = LanguagePolicy(TransformersChat(toy.load_toy(folder), batch=1), greedy(toy, prompts))

    action = policy.act(toy.toy_starts(toy.toy_squares(1, seed=9))[0]).action

    assert isinstance(action, AddBox | Malformed)


def greedy(toy: ModuleType, prompts: Path) -> LanguageSettings:
    settings: LanguageSettings = replace(toy.toy_settings(prompts), temperature=0.0)
    return settings


def test_a_run_that_is_gone_on_with_ends_with_the_same_adapters(
    adapted: Path, taught: Path, settings: GrpoSettings, tmp_path: Path
) -> None:
    class Killed(Exception):
        """Stands for the end of the process."""

    def kill(told: str) -> None:
        if told.startswith("step 2"):
            raise Killed

    with pytest.raises(Killed):
        train_on_squares(taught, tmp_path / "run", 2, settings, progress=kill)
    told: list[str] = []
    train_on_squares(taught, tmp_path / "run", 2, settings, resume=True, progress=told.append)

    assert [text.split(",")[0] for text in told[1:]] == ["step 2 of 2"]
    assert weights(tmp_path / "run") == weights(adapted)


def weights(out: Path) -> tuple[Any, ...]:
    return tuple(
        (out / "model" / name).read_bytes()
        for name in ("model.safetensors", "adapter/adapter_model.safetensors")
    )
