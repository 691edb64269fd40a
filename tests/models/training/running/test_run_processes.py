"""Processes that would quietly do something else are refused, with what to start instead."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from models.errors import TrainingRefused
from models.training.running import processes
from models.training.running.processes import refuse_impossible_processes


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "chosen_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("RANK", raising=False)


@pytest.mark.parametrize("value", ["true", "1", "Yes"])
def test_sharding_on_cpus_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", value)
    with pytest.raises(TrainingRefused, match="FSDP is configured and there is no GPU"):
        refuse_impossible_processes("cpu", "accelerate launch")


def test_one_process_before_several_gpus_is_refused(three_gpus: None) -> None:
    with pytest.raises(TrainingRefused, match=r"3 GPUs .* start with torchrun, or show one"):
        refuse_impossible_processes("cuda", "torchrun")


def test_what_was_launched_and_what_is_on_a_cpu_is_not(
    three_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_impossible_processes("cpu", "torchrun")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    refuse_impossible_processes("cuda", "torchrun")
