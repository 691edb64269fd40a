"""The model that a run leaves is what serving loads, and adapters lie beside it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("trl")

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

from models.training.running.saved_model import base_identity, save_served
from tests.support.fixture_types import PlannerFolders


def test_a_model_is_told_from_another_of_its_name(
    planner_folders: PlannerFolders, tmp_path: Path
) -> None:
    first, second = tmp_path / "1" / "model", tmp_path / "2" / "model"
    for link, family in ((first, "qwen3_vl"), (second, "qwen2_5_vl")):
        link.parent.mkdir()
        link.symlink_to(planner_folders(family))

    identity = base_identity(first)
    assert identity["name"] == "model"
    assert list(identity["weights"]) == ["model.safetensors"]
    assert identity == base_identity(first) != base_identity(second)


def test_adapters_are_merged_and_lie_beside(toy: ModuleType, raw: Path, tmp_path: Path) -> None:
    loaded = toy.load_toy(raw)
    names = ["q_proj"]
    adapted = get_peft_model(loaded.model, LoraConfig(r=2, target_modules=names))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(weight, 0.1)

    save_served(adapted, loaded.processor, tmp_path / "model")

    before = load_file(raw / "model.safetensors")
    after = load_file(tmp_path / "model" / "model.safetensors")
    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "q_proj" in name}
    again = PeftModel.from_pretrained(toy.load_toy(raw).model, str(tmp_path / "model" / "adapter"))
    merged = dict(again.merge_and_unload().named_parameters())
    for name, weight in toy.load_toy(tmp_path / "model").model.named_parameters():
        assert torch.equal(merged[name], weight), name
