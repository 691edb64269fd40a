"""A segmenter as a whole process uses it: one model, many threads, and nothing that dies of memory.

Encoding and drawing claim memory first. What runs out all the same is tried in halves, then alone
with all memory, then on the spare, which is the same network on the CPU; only then does it fail, as
SegmenterFailed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from agent.errors import SegmenterFailed
from agent.ports import (
    ContinueIf,
    Encoding,
    PromptedSlice,
    PropagatedSlice,
    Seed,
    Segmenter,
    Slices,
    VolumePrompter,
    VolumeSegmenter,
)
from agent.values import PromptKind, Prompts, Segmentation, VolumePrompts, VolumeSegmentation
from models.entries import Needs
from models.errors import MemoryShort
from models.runtime.memory import MemoryBudget, is_out_of_memory
from models.serving.batching import Batcher

_log = logging.getLogger(__name__)

T = TypeVar("T")


class ServedSegmenter:
    """A Segmenter around `segmenter` that many threads may share; answers are those of the
    segmenter itself.

    `spare` builds the same on the CPU, at first need (None: it runs there already).
    """

    def __init__(
        self,
        segmenter: Segmenter,
        budget: MemoryBudget,
        needs: Needs,
        spare: Callable[[], Segmenter] | None = None,
    ) -> None:
        self._segmenter, self._budget, self._needs = segmenter, budget, needs
        self._build_spare = spare
        self._encoding = threading.Lock()  # the encoder takes the whole device as it is
        self._batcher = Batcher(self._draw)

    @property
    def name(self) -> str:
        """Name in configuration, traces and results."""
        return self._segmenter.name

    @property
    def supported_prompts(self) -> frozenset[PromptKind]:
        """As the segmenter's."""
        return self._segmenter.supported_prompts

    def encode(self, image: NDArray[np.float32]) -> Encoding:
        """As the segmenter's, one at a time; SegmenterFailed when no memory is to be had
        anywhere.
        """

        def work(model: Segmenter) -> Encoding:
            # after the memory is held: who waits for memory must not keep others from the encoder
            with self._encoding:
                return model.encode(image)

        return self._admitted(self._needs.encode_bytes, work)

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        """As the segmenter's, in one run with what other threads ask at the time."""
        return self.segment_many([PromptedSlice(encoding, prompts)])[0]

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """As the segmenter's, in one run with what other threads ask at the time."""
        return self._batcher.segment_many(asks)

    def _draw(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """Draw a batch, or its halves where it is too much at once."""
        if len(asks) == 1:
            return self._admitted(self._needs.ask_bytes, lambda model: model.segment_many(asks))
        try:
            with self._budget.claim(len(asks) * self._needs.ask_bytes):
                return self._segmenter.segment_many(asks)
        except MemoryShort as fault:
            raise SegmenterFailed(str(fault)) from fault
        except (MemoryError, RuntimeError) as fault:
            if not is_out_of_memory(fault):
                raise
            _log.warning("%d prompts at once were too many for memory: two halves", len(asks))
        _release()
        half = len(asks) // 2
        return self._draw(asks[:half]) + self._draw(asks[half:])

    def _admitted(self, wanted_bytes: int, work: Callable[[Segmenter], T]) -> T:
        """Work within the budget; out of memory, alone with all of it; at last on the spare."""
        for claimed_bytes in (wanted_bytes, self._budget.total_bytes):
            try:
                with self._budget.claim(claimed_bytes):
                    return work(self._segmenter)
            except MemoryShort as fault:
                raise SegmenterFailed(str(fault)) from fault
            except (MemoryError, RuntimeError) as fault:
                if not is_out_of_memory(fault):
                    raise
            _release()
        return self._on_spare(work)

    def _on_spare(self, work: Callable[[Segmenter], T]) -> T:
        _log.warning("%s has run out of memory: this goes on on the CPU", self.name)
        try:
            return work(self._spare)
        except (MemoryError, RuntimeError) as fault:
            if not is_out_of_memory(fault):
                raise
            raise SegmenterFailed(
                f"there is not enough memory for {self.name}; set models.memory_bytes lower or "
                "choose a smaller one"
            ) from fault

    @cached_property
    def _spare(self) -> Segmenter:
        return self._segmenter if self._build_spare is None else self._build_spare()


class ServedVolumeSegmenter(ServedSegmenter):
    """A ServedSegmenter that follows objects (agent.ports.VolumeSegmenter), a bounded number of
    them in one pass.
    """

    def propagate(
        self, slices: Slices, seeds: Sequence[Seed], continue_if: ContinueIf
    ) -> Iterator[PropagatedSlice]:
        """As the segmenter's; where memory runs out the pass begins anew in halves, then on the
        CPU, and slices that were yielded before come again.
        """
        together = min(len(seeds), self._needs.objects_at_once)
        try:
            with self._budget.claim(together * self._needs.object_bytes):
                yield from _follower(self._segmenter).propagate(slices, seeds, continue_if)
            return
        except MemoryShort as fault:
            raise SegmenterFailed(str(fault)) from fault
        except (MemoryError, RuntimeError) as fault:
            if not is_out_of_memory(fault):
                raise
            _log.warning("%d objects in one pass were too many for memory", len(seeds))
        _release()
        if len(seeds) == 1:
            yield from self._alone(slices, seeds, continue_if)
            return
        half = len(seeds) // 2
        yield from self.propagate(slices, seeds[:half], continue_if)
        yield from _renumbered(self.propagate, slices, seeds[half:], continue_if, half)

    def _alone(
        self, slices: Slices, seeds: Sequence[Seed], continue_if: ContinueIf
    ) -> Iterator[PropagatedSlice]:
        if self._build_spare is None:
            raise SegmenterFailed(f"there is not enough memory for {self.name} to follow an object")
        yield from _follower(self._spare).propagate(slices, seeds, continue_if)


class ServedVolumePrompter(ServedSegmenter):
    """A ServedSegmenter that draws whole objects (agent.ports.VolumePrompter), one at a time."""

    def segment_volume(self, slices: Slices, prompts: VolumePrompts) -> VolumeSegmentation:
        """As the segmenter's; SegmenterFailed when no memory is to be had anywhere."""

        def work(model: Segmenter) -> VolumeSegmentation:
            if not isinstance(model, VolumePrompter):
                raise SegmenterFailed(f"{model.name} does not draw volumes")
            # prompts of one object go on from each other: two at once would be mixed up
            with self._encoding:
                return model.segment_volume(slices, prompts)

        return self._admitted(self._needs.object_bytes, work)


def served(
    segmenter: Segmenter,
    budget: MemoryBudget,
    needs: Needs,
    spare: Callable[[], Segmenter] | None = None,
) -> ServedSegmenter:
    """The segmenter for a whole process; it follows objects or draws volumes if the one within
    does.
    """
    kind = ServedSegmenter
    if isinstance(segmenter, VolumeSegmenter):
        kind = ServedVolumeSegmenter
    elif isinstance(segmenter, VolumePrompter):
        kind = ServedVolumePrompter
    return kind(segmenter, budget, needs, spare)


def _renumbered(
    propagate: Callable[[Slices, Sequence[Seed], ContinueIf], Iterator[PropagatedSlice]],
    slices: Slices,
    seeds: Sequence[Seed],
    continue_if: ContinueIf,
    first: int,
) -> Iterator[PropagatedSlice]:
    """The later objects of a pass that was halved, under the numbers they have in the whole."""

    def whole(part: PropagatedSlice) -> PropagatedSlice:
        return PropagatedSlice(part.index + first, part.z, part.segmentation, part.score)

    for part in propagate(slices, seeds, lambda part: continue_if(whole(part))):
        yield whole(part)


def _follower(segmenter: Segmenter) -> VolumeSegmenter:
    if not isinstance(segmenter, VolumeSegmenter):
        raise SegmenterFailed(f"{segmenter.name} does not follow objects")
    return segmenter


def _release() -> None:
    """Give back what torch holds for later; without it the next try finds the GPU as full as the
    last.
    """
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
