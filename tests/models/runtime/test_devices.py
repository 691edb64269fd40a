"""What the site's words for device and precision mean on this machine."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from models.errors import DeviceMissing, UnsupportedPrecision
from models.runtime.devices import CPU, chosen_device, chosen_dtype, computing, objects_at_once
from models.runtime.resources import Precision


def test_auto_is_the_first_gpu_or_the_processor() -> None:
    expected = "cuda:0" if torch.cuda.is_available() else "cpu"

    assert chosen_device("auto") == torch.device(expected)
    assert chosen_device("cpu") == CPU


@pytest.mark.parametrize(("rank", "expected"), [("", "cuda:0"), ("0", "cuda:0"), ("5", "cuda:5")])
def test_auto_in_a_process_that_a_launcher_numbered_is_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch, rank: str, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank:
        monkeypatch.setenv("LOCAL_RANK", rank)

    assert chosen_device("auto") == torch.device(expected)


@pytest.mark.parametrize("said", ["cuda:99", "toaster", "cuda:x"])
def test_a_device_that_is_not_there_is_named(said: str) -> None:
    with pytest.raises(DeviceMissing, match=f"no device '{said}' here"):
        chosen_device(said)


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        (Precision.AUTO, torch.float32),  # on a processor
        (Precision.FLOAT32, torch.float32),
        (Precision.BFLOAT16, torch.bfloat16),
    ],
)
def test_a_precision_is_what_was_said(precision: Any, expected: Any) -> None:
    assert chosen_dtype(precision, CPU) is expected


def test_int8_is_none_of_torchs() -> None:
    with pytest.raises(UnsupportedPrecision, match="litemedsam alone"):
        chosen_dtype(Precision.INT8, CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_networks_compute_with_it(dtype: Any) -> None:
    layer = torch.nn.Linear(4, 4)

    with torch.inference_mode(), computing(CPU, dtype):
        made = layer(torch.ones(1, 4))

    assert made.dtype is dtype


def test_a_processor_works_on_one_object_at_a_time() -> None:
    assert objects_at_once(CPU) == 1
    assert objects_at_once(torch.device("cuda", 0)) == 16
