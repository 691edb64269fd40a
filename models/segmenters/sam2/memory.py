"""What is remembered of an object: its outlines, six slices behind and fifteen pointers, however
long the volume is.

Ravi et al., "SAM 2", 2024, section 4 (memory bank); which memory is recalled where follows the
package sam2 1.1.0, sam2/modeling/sam2_base.py, _prepare_memory_conditioned_features.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Memory:
    """One object on slice `z`: `features` (h·w, 64) bfloat16 of where it was, `pointer` (256,)
    float32 of what it was.
    """

    z: int
    features: Tensor
    pointer: Tensor


@dataclass(frozen=True, eq=False)
class Recall:
    """What one object brings to a slice.

    `features` (slices ago, features), 0 for outlines, which have no place in time; `pointers`
    (slices ago, pointer), 0 and up: outlines that lie ahead bring no pointer. `reach` slices is the
    furthest that pointers go back, plus one.
    """

    features: tuple[tuple[int, Tensor], ...]
    pointers: tuple[tuple[int, Tensor], ...]
    reach: int

    @property
    def size(self) -> tuple[int, int]:
        """(features, pointers): objects of equal size can be worked on as one batch."""
        return len(self.features), len(self.pointers)


@dataclass(frozen=True)
class Capacity:
    """How much is remembered: `slices` features in all, of which one is an outline's (7),
    `pointers` at most (16), `outlines` at most at a time (-1: all that there are).
    """

    slices: int = 7
    pointers: int = 16
    outlines: int = -1


class Bank:
    """The memories of one object on its way through a volume of `depth` slices: `step` 1 upwards,
    -1 downwards.

    Holds its `outlines` (z → memory, shared by all ways from them) and, of the slices drawn, the
    last few.
    """

    def __init__(
        self, outlines: Mapping[int, Memory], step: int, depth: int, capacity: Capacity
    ) -> None:
        self._outlines, self._step, self._depth, self._capacity = outlines, step, depth, capacity
        self._features: deque[tuple[int, Tensor]] = deque(maxlen=capacity.slices - 1)
        self._pointers: deque[tuple[int, Tensor]] = deque(maxlen=capacity.pointers - 1)

    def remember(self, memory: Memory) -> None:
        """Take in a slice that was drawn; the furthest goes when there are too many."""
        self._features.append((memory.z, memory.features))
        self._pointers.append((memory.z, memory.pointer))

    def recall(self, z: int) -> Recall:
        """What is known when slice `z` is to be drawn."""
        near = closest(self._outlines, z, self._capacity.outlines)
        far = {at: memory for at, memory in self._outlines.items() if at not in near}
        reach = min(self._depth, self._capacity.pointers)
        # Features: all near outlines, then the slices 6, 5, … 1 behind z, the nearest last.
        # "Behind" is against the direction of travel: slice z - step·n is n slices ago
        features = [(0, memory.features) for memory in near.values()]
        behind = {at: memory.features for at, memory in far.items()} | dict(self._features)
        features += self._behind(behind, z, range(self._capacity.slices - 1, 0, -1))
        # Pointers: near outlines that were passed, at their distance, then the slices 1, 2, …
        # reach - 1 behind z. An outline ahead would have a distance that the network never saw
        pointers = [
            ((z - at) * self._step, memory.pointer)
            for at, memory in near.items()
            if (z - at) * self._step >= 0
        ]
        behind = {at: memory.pointer for at, memory in far.items()} | dict(self._pointers)
        pointers += self._behind(behind, z, range(1, reach))
        return Recall(tuple(features), tuple(pointers), reach)

    def _behind(
        self, by_slice: Mapping[int, Tensor], z: int, ago: range
    ) -> list[tuple[int, Tensor]]:
        return [(n, by_slice[z - self._step * n]) for n in ago if z - self._step * n in by_slice]


def closest(outlines: Mapping[int, Memory], z: int, at_most: int) -> dict[int, Memory]:
    """The outlines that are attended to on slice `z`: the nearest below, the nearest at or above,
    then the nearest left.

    All of them when there are no more than `at_most`, or for -1. Upstream wants at least two.
    """
    if at_most == -1 or len(outlines) <= at_most:
        return dict(outlines)
    below = max((at for at in outlines if at < z), default=None)
    above = min((at for at in outlines if at >= z), default=None)
    first = [at for at in (below, above) if at is not None]
    others = sorted((at for at in outlines if at not in first), key=lambda at: abs(at - z))
    return {at: outlines[at] for at in (*first, *others)[:at_most]}
