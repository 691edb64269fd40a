"""A segmenter by name, ready for a whole process: admitted to this machine's memory, with the CPU
to fall back on.

What each needs was measured as the growth of a process (float32, random weights, one prompt and
eight, torch 2.13 and ONNX Runtime on a CPU) and rounded up by a half. Encoder and prompt in MB:
Hiera-tiny at 512 px 143 and 11, at 1024 px 570 and 48, Hiera-large 932 and 48; ViT-B at 1024 px
2505 and 30, ViT-L 3981 and 8, ViT-H 2065 (torch runs it) and 4. A followed object, which holds one
slice's attention to seven others, takes 190 MB at 1024 px.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from weakref import WeakValueDictionary

import torch

from models.registry import open_segmenter
from models.runtime.devices import chosen_device, objects_at_once
from models.runtime.memory import MemoryBudget, budget_of
from models.runtime.resources import Resources
from models.serving.served import Needs, ServedSegmenter, served

_MB = 1 << 20

SMALL = Needs(encode_bytes=256 * _MB, ask_bytes=16 * _MB, object_bytes=192 * _MB)
HIERA_1024 = Needs(encode_bytes=1024 * _MB, ask_bytes=72 * _MB, object_bytes=320 * _MB)
HIERA_LARGE = Needs(encode_bytes=1536 * _MB, ask_bytes=72 * _MB, object_bytes=320 * _MB)
VIT_1024 = Needs(encode_bytes=4096 * _MB, ask_bytes=48 * _MB)
VIT_LARGE = Needs(encode_bytes=6144 * _MB, ask_bytes=48 * _MB)

_BY_NAME: Mapping[str, Needs] = {
    "sam2-tiny": HIERA_1024,
    "sam2-small": HIERA_1024,
    "sam2-base-plus": HIERA_1024,
    "sam2-large": HIERA_LARGE,
    "sam-vit-b": VIT_1024,
    "sam-vit-l": VIT_LARGE,
    "sam-vit-h": VIT_LARGE,
    "imisnet": VIT_1024,
}


def needs_of(name: str) -> Needs:
    """What the segmenter `name` takes at its peak."""
    return _BY_NAME.get(name, SMALL)


@cache
def _budget(device: str, at_most_bytes: int) -> MemoryBudget:
    """One budget a device for all models of this process."""
    return budget_of(torch.device(device), at_most_bytes)


def open_served(name: str, resources: Resources) -> ServedSegmenter:
    """The segmenter `name` for a whole process; UnknownModel, WeightsMissing, WeightsChanged,
    DeviceMissing.
    """
    device = chosen_device(resources.device)
    on_cpu = replace(resources, device="cpu")
    return served(
        open_segmenter(name, resources),
        _budget(str(device), resources.memory_bytes),
        replace(needs_of(name), objects_at_once=objects_at_once(device)),
        None if device.type == "cpu" else lambda: open_segmenter(name, on_cpu),
    )


class SharedSegmenters:
    """Segmenters for a whole process, each loaded once as long as anybody uses it: all planners
    draw with the same one.
    """

    def __init__(self) -> None:
        self._open: WeakValueDictionary[tuple[str, Resources], ServedSegmenter] = (
            WeakValueDictionary()
        )
        self._lock = threading.Lock()

    def open(self, name: str, resources: Resources) -> ServedSegmenter:
        """As `open_served`."""
        with self._lock:
            kept = self._open.get((name, resources))
            if kept is None:
                kept = self._open[name, resources] = open_served(name, resources)
            return kept
