"""deploy/training/: read by the tools' own classes, and of the versions that are pinned here."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from transformers.models.qwen3_vl import modeling_qwen3_vl

from models.training import grpo

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture
def folder(repository: Path) -> Path:
    return repository / "deploy" / "training"


def test_accelerate_reads_the_configuration_for_8_gpus(folder: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(folder / "fsdp2.yaml"))
    assert (str(config.distributed_type.value), config.num_processes) == ("FSDP", 8)
    layer = config.fsdp_config["fsdp_transformer_layer_cls_to_wrap"]
    assert hasattr(modeling_qwen3_vl, layer)
    assert config.fsdp_config["fsdp_version"] == 2


def test_the_second_environment_trains_with_the_same_versions(folder: Path) -> None:
    pins = re.findall(
        r"^(\w+)(?:\[\w+\])?==(\S+)$",
        (folder / "requirements-vllm.txt").read_text(),
        re.MULTILINE,
    )
    assert len(pins) == 4
    assert dict(pins) == {name: version(name) for name, _ in pins}


def test_the_file_that_trains_names_the_configuration() -> None:
    assert "deploy/training/fsdp2.yaml" in (grpo.__doc__ or "")
