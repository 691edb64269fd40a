"""A segmenter by name, ready for a whole process: admitted to this machine's memory, with the CPU to fall back on.

What each needs was measured as the growth of a process (float32, random weights, `batch 1` and `batch 8`, torch 2.13 on
a CPU), rounded up by a half. Encoder and prompt in MB: Hiera-tiny at 512 px 143 and 11, at 1024 px 570 and 36,
Hiera-large 454 and 44; ViT-B at 1024 px 2505 and 30. A followed object holds one slice's attention to seven others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import torch

from models.devices import chosen_device, objects_at_once
from models.registry import open_segmenter
from models.resources import Resources
from models.serving.memory import MemoryBudget, budget_of
from models.serving.served import Needs, ServedSegmenter, served

_MB = 1 << 20

SMALL = Needs(encode_bytes=256 * _MB, ask_bytes=16 * _MB, object_bytes=192 * _MB)
HIERA_1024 = Needs(encode_bytes=1024 * _MB, ask_bytes=64 * _MB, object_bytes=1024 * _MB)
VIT_1024 = Needs(encode_bytes=4096 * _MB, ask_bytes=48 * _MB)

_BY_NAME: Mapping[str, Needs] = {
    "sam2": HIERA_1024,
    "sam2.1": HIERA_1024,
    "sam": VIT_1024,
    "medsam": VIT_1024,
    "imisnet": VIT_1024,
}


def needs_of(name: str) -> Needs:
    """What the segmenter `name` takes at its peak, by the family that the name begins with."""
    return _BY_NAME.get(name.partition("-")[0], SMALL)


@cache
def _budget(device: str, at_most_bytes: int) -> MemoryBudget:
    """One budget a device for all models of this process."""
    return budget_of(torch.device(device), at_most_bytes)


def open_served(name: str, resources: Resources) -> ServedSegmenter:
    """The segmenter `name` for a whole process; UnknownModel, WeightsMissing, WeightsChanged, DeviceMissing."""
    device = chosen_device(resources.device)
    on_cpu = replace(resources, device="cpu")
    return served(
        open_segmenter(name, resources),
        _budget(str(device), resources.memory_bytes),
        replace(needs_of(name), objects_at_once=objects_at_once(device)),
        None if device.type == "cpu" else lambda: open_segmenter(name, on_cpu),
    )
