"""A segmenter by name, ready for a whole process: admitted to this machine's memory, with the CPU
to fall back on.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cache
from weakref import WeakValueDictionary

import torch

from models.registry import open_segmenter, segmenter_entry
from models.runtime.devices import chosen_device, objects_at_once
from models.runtime.memory import MemoryBudget, budget_of
from models.runtime.resources import Resources
from models.serving.served import ServedSegmenter, served


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
        replace(segmenter_entry(name).needs, objects_at_once=objects_at_once(device)),
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
            segmenter = self._open.get((name, resources))
            if segmenter is None:
                segmenter = self._open[name, resources] = open_served(name, resources)
            return segmenter
