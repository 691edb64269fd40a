"""From a key slice outwards: the policy works on slice after slice, with its neighbour's mask in
view.

Slices that lie closer than `draw_step_mm` are gone through in leaps, from one drawn slice to the
next; those between are filled (agent/volume/filling.py). Where a leap finds nothing, the structure
ends on the way, and the slices are worked on one by one.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal

from agent.turns import Turn
from agent.volume.beside import draw_beside
from agent.volume.between import drawing_stride
from agent.volume.filling import fill, record_filled
from agent.volume.target_state import TargetState


def propagate_slice_by_slice(
    target_state: TargetState, key_slice: int, step: Literal[-1, 1]
) -> Generator[Turn, None, None]:
    """Work from `key_slice` towards higher (`step` 1) or lower slices; yields the turns, that of
    what was interpolated last.

    The way ends at the volume's edge, at a slice with a mask, at one that was worked on in full and
    found without the structure, or after `end_after` slices in a row without it: its presence is
    below the floor, the policy says absent, or no mask fits its neighbour (drift).
    """
    before = frozenset(target_state.interpolated)
    yield from _go(target_state, key_slice, step)
    yield from record_filled(target_state, before)


def _go(
    target_state: TargetState, key_slice: int, step: Literal[-1, 1]
) -> Generator[Turn, None, None]:
    z, missing, refused = key_slice + step, 0, key_slice
    ends = target_state.masks.keys() | target_state.absences.keys()
    while 0 <= z < target_state.slices.shape[0] and z not in ends:
        landing = z if missing else _landing(target_state, z - step, step)
        if landing not in (z, refused):
            is_met = landing in target_state.masks
            if (yield from _leap(target_state, z - step, landing)):
                if is_met:
                    return
                z = landing + step
                continue
            refused = landing
        if target_state.likely(z):
            last = z - step * (missing + 1)
            yield from draw_beside(target_state, z, (last, last - step))
        missing = 0 if z in target_state.masks else missing + 1
        if missing >= target_state.limits.end_after:
            return
        z += step


def _landing(target_state: TargetState, last: int, step: Literal[-1, 1]) -> int:
    """The slice to work on after `last`: the next one to be drawn, or one with a mask before it."""
    slices = target_state.slices
    stride = drawing_stride(slices.spacing_mm[0], target_state.limits.draw_step_mm)
    top = slices.shape[0] - 1
    below, above = (last - 1) // stride * stride, min((last // stride + 1) * stride, top)
    landing = above if step == 1 else below
    on_the_way = range(last + step, landing, step)
    if any(z in target_state.absences for z in (*on_the_way, landing)):
        return last + step  # no leap over a slice without the structure
    return next((z for z in on_the_way if z in target_state.masks), landing)


def _leap(target_state: TargetState, last: int, landing: int) -> Generator[Turn, None, bool]:
    """From a drawn slice over those between to `landing`; whether there is a mask there, and then
    the slices between are done too.
    """
    step = 1 if landing > last else -1
    if landing not in target_state.masks and target_state.likely(landing):
        yield from draw_beside(target_state, landing, (last, last - step), may_come_again=True)
    if landing not in target_state.masks:
        return False
    yield from fill(target_state, min(last, landing), max(last, landing))
    return True
