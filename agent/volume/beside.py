"""A slice beside one that has a mask: the policy works on it with that mask in view."""

from __future__ import annotations

from collections.abc import Generator

from agent.turns import Outcome, Turn
from agent.values import Role, Segmentation
from agent.volume.target_state import TargetState


def draw_beside(
    target_state: TargetState, z: int, behind: tuple[int, int], *, may_come_again: bool = False
) -> Generator[Turn, None, None]:
    """Draw slice `z`; `behind` are the nearest slice with a mask and a further one, which may have
    none. Yields the turns.

    Drift is an observation first, so that the policy may correct it, and a warning where it stays,
    unless the slice `may_come_again` from one that is nearer.
    """
    neighbourhood = target_state.neighbourhood(abs(z - behind[0]))
    before = tuple(target_state.masks[n] for n in behind if n in target_state.masks)

    def drifts(segmentation: Segmentation) -> str | None:
        return neighbourhood.drift(segmentation.mask, before)

    episode = yield from target_state.draw(z, Role.CARRY, carried=before[0], objection=drifts)
    lost = [turn for turn in episode.turns if turn.outcome is Outcome.ROLLED_BACK]
    if episode.best is None and not episode.absent and lost and not may_come_again:
        target_state.warnings.append(
            f"on slice {z} the outline could not be followed from slice {behind[0]}: "
            f"{lost[-1].observation}"
        )
