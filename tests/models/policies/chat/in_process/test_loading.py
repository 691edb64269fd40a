"""A folder is taken for what its configuration says it is; what cannot be used says why."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from models.errors import UnusableModel
from models.policies.chat.in_process.loading import load_chat_model
from models.runtime.resources import LanguageOptions, Precision, Quantisation, Resources


def load(folder: object, **options: Any) -> Any:
    return load_chat_model(
        Resources(device="cpu", language=LanguageOptions(model=str(folder), **options))
    )


@pytest.fixture
def copied(model_folders: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the Qwen3-VL folder that a test may spoil."""
    folder = tmp_path / "qwen2_5-vl-gpt"  # a path that lies about what is in it
    shutil.copytree(model_folders["qwen3_vl"], folder)
    return folder


def test_the_class_is_told_by_the_configuration_and_not_by_the_path(copied: Path) -> None:
    loaded = load(copied)

    assert type(loaded.model).__name__ == "Qwen3VLForConditionalGeneration"
    assert type(loaded.processor).__name__ == "Qwen3VLProcessor"
    assert loaded.name == "qwen2_5-vl-gpt"
    assert not loaded.model.training


def test_on_a_cpu_it_computes_in_float32_and_in_bfloat16_when_told(copied: Path) -> None:
    options = LanguageOptions(model=str(copied))

    plain = load_chat_model(Resources(device="cpu", language=options))
    small = load_chat_model(Resources(device="cpu", language=options, precision=Precision.BFLOAT16))

    assert (plain.model.dtype, small.model.dtype) == (torch.float32, torch.bfloat16)


def test_a_model_of_the_hubs_cache_is_found_by_its_name(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "hub"
    snapshot = cache / "models--site--reader" / "snapshots" / ("0" * 40)
    shutil.copytree(copied, snapshot)
    (cache / "models--site--reader" / "refs").mkdir()
    (cache / "models--site--reader" / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))

    assert load("site/reader").name == "reader"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "no model is named"),
        ("nobody/nothing-here", "no such folder"),
        ("/no/folder", "no such folder"),
    ],
)
def test_a_model_that_is_not_there_is_not_looked_for_elsewhere(name: str, why: str) -> None:
    with pytest.raises(UnusableModel, match=why):
        load(name)


def test_a_model_that_sees_nothing_is_named_for_what_it_is(tmp_path: Path) -> None:
    BertModel(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ).save_pretrained(tmp_path)

    with pytest.raises(
        UnusableModel, match=r"it is a 'bert' \(BertModel\), not a model that is shown"
    ):
        load(tmp_path)


def test_an_unknown_kind_of_model_is_said(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text()) | {"model_type": "qwen9_vl"}
    (copied / "config.json").write_text(json.dumps(config))

    with pytest.raises(UnusableModel, match="qwen9_vl"):
        load(copied)


def test_a_missing_chat_template_is_said(copied: Path) -> None:
    (copied / "chat_template.jinja").unlink()

    with pytest.raises(UnusableModel, match="no chat template"):
        load(copied)


def test_a_missing_processor_is_said(copied: Path) -> None:
    (copied / "processor_config.json").unlink()

    with pytest.raises(UnusableModel, match="processor"):
        load(copied)


def test_missing_weights_are_said(copied: Path) -> None:
    (copied / "model.safetensors").unlink()

    with pytest.raises(UnusableModel, match="weights"):
        load(copied)


def test_pickled_weights_are_never_opened(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    (copied / "pytorch_model.bin").write_bytes(b"a pickle that would run code")

    with pytest.raises(UnusableModel, match="weights"):
        load(copied)


def test_damaged_weights_are_said(copied: Path) -> None:
    whole = (copied / "model.safetensors").read_bytes()
    (copied / "model.safetensors").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(UnusableModel, match="weights"):
        load(copied)


def test_another_architectures_weights_are_refused(
    copied: Path, model_folders: dict[str, Path]
) -> None:
    shutil.copy(model_folders["qwen2_5_vl"] / "model.safetensors", copied)

    with pytest.raises(UnusableModel, match="not those of a qwen3_vl: their sizes differ"):
        load(copied)


def test_missing_tensors_are_not_filled_up_with_random_numbers(copied: Path) -> None:
    tensors = load_file(copied / "model.safetensors")
    del tensors["model.language_model.norm.weight"]
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(
        UnusableModel, match=r"not those of a qwen3_vl: 1 tensors are missing, .*norm.weight first"
    ):
        load(copied)


def test_code_that_came_with_a_model_is_not_run(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "own.py").write_text("raise SystemExit('this was run')")

    with pytest.raises(UnusableModel):
        load(copied)


@pytest.mark.parametrize("packed", [Quantisation.INT8, Quantisation.INT4])
def test_packed_weights_need_a_gpu(copied: Path, packed: Quantisation) -> None:
    with pytest.raises(UnusableModel, match=f"{packed} needs an NVIDIA GPU"):
        load(copied, quantisation=packed)


@pytest.mark.skipif(
    importlib.util.find_spec("accelerate") is not None, reason="accelerate is installed here"
)
def test_several_gpus_need_accelerate_and_say_how_to_get_it(copied: Path) -> None:
    with pytest.raises(
        UnusableModel, match=r"accelerate is needed .* pip install 'segnode\[gpu\]'"
    ):
        load(copied, device_map="auto")
