"""From a key slice outwards: the policy works on each slice, with its neighbour's mask in view."""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal

from agent.turns import Outcome, Turn
from agent.values import Role, Segmentation
from agent.volume.target_state import TargetState


def propagate_slice_by_slice(
    target_state: TargetState, key_slice: int, step: Literal[-1, 1]
) -> Generator[Turn, None, None]:
    """Work from `key_slice` towards higher (`step` 1) or lower slices; yields the turns.

    The way ends at the volume's edge, at a slice with a mask, or after `end_after` slices in a row
    without the structure: its presence is below the floor, the policy says absent, or no mask fits
    its neighbour (drift). Drift is an observation first, so that the policy may correct it.
    """
    z, missing = key_slice + step, 0
    while 0 <= z < target_state.slices.shape[0] and z not in target_state.masks:
        if target_state.likely(z):
            last = z - step * (missing + 1)
            yield from _draw_beside(target_state, z, (last, last - step))
        missing = 0 if z in target_state.masks else missing + 1
        if missing >= target_state.limits.end_after:
            return
        z += step


def _draw_beside(
    target_state: TargetState, z: int, behind: tuple[int, int]
) -> Generator[Turn, None, None]:
    """Draw slice `z`; `behind` are the last slice with a mask and the one before that."""
    neighbourhood, from_slice = target_state.neighbourhood, behind[0]
    before = tuple(target_state.masks[n] for n in behind if n in target_state.masks)

    def drifts(segmentation: Segmentation) -> str | None:
        return neighbourhood.drift(segmentation.mask, before)

    episode = yield from target_state.draw(z, Role.CARRY, carried=before[0], objection=drifts)
    lost = [turn for turn in episode.turns if turn.outcome is Outcome.ROLLED_BACK]
    if episode.best is None and not episode.absent and lost:
        target_state.warnings.append(
            f"on slice {z} the outline could not be followed from slice {from_slice}: "
            f"{lost[-1].observation}"
        )
