"""The order in which objects are propagated through a volume: each from its nearest outline, all in
one pass up and one pass down.

Every VolumeSegmenter (agent/ports.py) uses it, so that the nearer outline, bounds and ends mean the
same to all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from agent.errors import SegmenterFailed
from agent.ports import ContinueIf, PropagatedSlice, Seed


@dataclass(frozen=True)
class PropagationPath:
    """The slices `first` to `last`, both included, over which object number `index` is propagated
    from its outline on slice `origin`: upwards with `step` 1, downwards with -1.
    """

    index: int
    origin: int
    first: int
    last: int
    step: int

    def covers(self, z: int) -> bool:
        """Whether slice `z` lies on the path."""
        # times -1, a way down is a way up: one comparison serves both
        return self.first * self.step <= z * self.step <= self.last * self.step


DrawSlice = Callable[[int, Sequence[PropagationPath]], Sequence[PropagatedSlice]]
"""Draw slice `z` for these paths, each of which was drawn on the slice before or begins here; one
answer a path, in order.
"""


def paths_of(seeds: Sequence[Seed], shape: tuple[int, int, int]) -> list[PropagationPath]:
    """All paths of `seeds` in a volume of `shape` (z, y, x).

    A slice between two outlines belongs to the nearer one, to the lower of two equally near. An
    empty outline says that the object is not there: no path begins at it, and one that comes
    towards it ends before it. The path of an outline outside a seed's bounds begins at the bound.
    SegmenterFailed for a seed that cannot be propagated.
    """
    paths: list[PropagationPath] = []
    for index, seed in enumerate(seeds):
        _check(seed, shape)
        lowest = max(0, seed.lowest if seed.lowest is not None else 0)
        highest = min(shape[0] - 1, seed.highest if seed.highest is not None else shape[0] - 1)
        for origin in sorted(seed.masks):
            if np.any(seed.masks[origin]):
                up, down = max(origin + 1, lowest), min(origin - 1, highest)
                paths += [
                    PropagationPath(
                        index, origin, up, min(_upper_end(seed, origin, highest), highest), 1
                    ),
                    PropagationPath(
                        index, origin, down, max(_lower_end(seed, origin, lowest), lowest), -1
                    ),
                ]
    return [path for path in paths if path.covers(path.first)]


def sweep(
    paths: Sequence[PropagationPath], draw: DrawSlice, continue_if: ContinueIf
) -> Iterator[PropagatedSlice]:
    """Go up through the slices once, then down once; the paths of a slice are drawn together.

    A path for which `continue_if` is False is not yielded there and goes no further.
    """
    for step in (1, -1):
        active = [path for path in paths if path.step == step]
        # the union of all paths: slices between two objects that are nobody's are not encoded
        slices = {z for path in active for z in range(path.first, path.last + step, step)}
        for z in sorted(slices, reverse=step < 0):
            present = [path for path in active if path.covers(z)]
            if not present:
                continue
            for path, propagated in zip(present, draw(z, present), strict=True):
                if continue_if(propagated):
                    yield propagated
                else:
                    active.remove(path)


def _upper_end(seed: Seed, origin: int, highest: int) -> int:
    """The last slice that belongs to the outline on `origin`, upwards."""
    above = min((z for z in seed.masks if z > origin), default=None)
    if above is None:
        return highest
    # rounded down, so that a middle slice is the lower outline's; `_lower_end` begins one above it:
    # together the two halves cover every slice between the outlines, and none twice
    return (origin + above) // 2 if np.any(seed.masks[above]) else above - 1


def _lower_end(seed: Seed, origin: int, lowest: int) -> int:
    """The last slice that belongs to the outline on `origin`, downwards."""
    below = max((z for z in seed.masks if z < origin), default=None)
    if below is None:
        return lowest
    return (below + origin) // 2 + 1 if np.any(seed.masks[below]) else below + 1


def _check(seed: Seed, shape: tuple[int, int, int]) -> None:
    if not any(np.any(mask) for mask in seed.masks.values()):
        raise SegmenterFailed("an object can only be followed from an outline that is not empty")
    for z, mask in seed.masks.items():
        if not 0 <= z < shape[0]:
            raise SegmenterFailed(f"an outline lies on slice {z}: the volume has {shape[0]}")
        if mask.shape != shape[1:]:
            raise SegmenterFailed(f"an outline of {mask.shape} does not fit slices of {shape[1:]}")
