"""Where a network runs and with which numbers: what the site's words mean on this machine."""

from __future__ import annotations

import os

import torch

from models.errors import DeviceMissing, UnsupportedPrecision
from models.runtime.resources import Precision

CPU = torch.device("cpu")


def chosen_device(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda:N" means here; DeviceMissing for one that is not
    there. "auto" is the first GPU, and in a process that a launcher numbered (LOCAL_RANK, as
    torchrun and accelerate do) the one of that number: not all of them on one.
    """
    if name == "auto":
        if not torch.cuda.is_available():
            return CPU
        rank = int(os.environ.get("LOCAL_RANK", "0"))
        return torch.device(f"cuda:{rank % max(torch.cuda.device_count(), 1)}")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceMissing(name, torch.cuda.device_count()) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceMissing(name, torch.cuda.device_count())
    return device


def chosen_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """What to compute with: AUTO is bfloat16 on a GPU that has it and float32 elsewhere.

    UnsupportedPrecision for INT8, which torch's networks do not compute with.
    """
    if precision is Precision.INT8:
        raise UnsupportedPrecision(precision.value)
    if precision is Precision.AUTO:
        able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if able else torch.float32
    return torch.bfloat16 if precision is Precision.BFLOAT16 else torch.float32


def objects_at_once(device: torch.device) -> int:
    """How many followed objects are worked on together: on a CPU more than one spill its cache and
    are slower.
    """
    return 1 if device.type == "cpu" else 16


def computing(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """The context in which networks with float32 weights compute with `dtype` where that does no
    harm.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype is not torch.float32)
