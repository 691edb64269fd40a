"""A check of the whole object: slices that do not fit are redrawn, filled or cut."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.turns import Turn
from agent.values import Role, Segmentation
from agent.volume.between import between
from agent.volume.neighbours import adjacent, radius_px
from agent.volume.target_state import TargetState, confirmed, note_second_look

_FILLED_SCORE = 0.5  # times the lower score of both neighbours: no model drew a filled slice


@dataclass(frozen=True)
class _Finding:
    """A slice that does not fit, and why; of the highest `weight` for the clearest misfit."""

    z: int
    why: str
    weight: float


def check_consistency(target_state: TargetState) -> Generator[Turn, None, None]:
    """Correct the object slice by slice, the clearest misfit first, each slice once; yields the
    turns.

    The policy is asked to redraw a slice that does not fit. A slice that it cannot correct is
    filled from its two neighbours, or cut where there is one only or the two have nothing between
    them; both give a warning. A planner that decides may also say that the mask is right, or that
    the structure is not there: so it stays.
    """
    if not target_state.masks:
        return
    lowest, highest = min(target_state.masks), max(target_state.masks)
    findings = {z: _finding(target_state, z) for z in range(lowest, highest + 1)}
    reviewed: set[int] = set()
    while unfit := [f for z, f in findings.items() if f is not None and z not in reviewed]:
        if len(reviewed) == target_state.limits.review_slices:
            target_state.warnings.append(
                f"{len(unfit)} slices more than were reviewed do not fit their neighbours: "
                "the outline needs a person's eye"
            )
            return
        worst = max(unfit, key=lambda finding: finding.weight)
        reviewed.add(worst.z)
        before = dict(target_state.masks)
        yield from _correct(target_state, worst)
        # a change is felt by the slices beside it only: the others' findings stay as they are
        findings |= {z: _finding(target_state, z) for z in _affected(target_state, before)}


def _affected(target_state: TargetState, before: Mapping[int, NDArray[np.bool_]]) -> set[int]:
    """The slices whose mask is another than `before`, and those beside them."""
    after = target_state.masks
    changed = [z for z in before.keys() | after.keys() if before.get(z) is not after.get(z)]
    return {beside for z in changed for beside in (z - 1, z, z + 1)}


def _finding(target_state: TargetState, z: int) -> _Finding | None:
    """What is wrong with slice `z`, or None, as where the planner has had a second look already."""
    if z in target_state.second_looks:
        return None
    around = adjacent(target_state.masks, z)
    if z not in target_state.masks:
        is_gap = len(around) == 2 and z not in target_state.absences
        return _Finding(z, "it is empty between two slices that are not", 0.0) if is_gap else None
    why = target_state.neighbourhood().runaway(target_state.masks[z], around) if around else None
    return None if why is None else _Finding(z, why, _misfit(target_state.masks[z], around))


def _misfit(mask: NDArray[np.bool_], around: tuple[NDArray[np.bool_], ...]) -> float:
    """How badly a mask fits: misfits with two neighbours first, then by the ratio of equivalent
    radii, to the neighbour that is nearer in size, whichever of the two is larger.
    """
    # of two misfits the one that two neighbours speak against comes first, whatever its ratio: no
    # ratio of radii on a slice reaches 1000. A ratio and its inverse are equally bad (twice, half)
    ratios = [radius_px(mask) / radius_px(neighbour) for neighbour in around]
    return len(around) * 1000.0 + min(max(ratio, 1 / ratio) for ratio in ratios)


def _correct(target_state: TargetState, finding: _Finding) -> Generator[Turn, None, None]:
    z, around = finding.z, adjacent(target_state.masks, finding.z)
    expected = between(*around) if len(around) == 2 else around[0]
    sources = target_state.interpolated.get(z)
    earlier = target_state.take(z) if z in target_state.masks else None

    def misfits(segmentation: Segmentation) -> str | None:
        return target_state.neighbourhood().runaway(segmentation.mask, around)

    episode = yield from target_state.draw(
        z,
        Role.REVIEW,
        carried=expected,
        suspect=None if earlier is None else Segmentation.of_mask(earlier[0]),
        doubt=finding.why,
        objection=misfits,
    )
    if episode.best is not None:
        note_second_look(target_state, z, episode)
        return
    if earlier is not None and confirmed(episode, target_state.limits):
        target_state.put(z, *earlier, sources)
        note_second_look(target_state, z, episode)
        target_state.warnings.append(f"slice {z} was kept on a second look, though {finding.why}")
    elif z in target_state.absences:
        reason = target_state.absences[z] or "on a second look the structure is not there"
        target_state.warnings.append(f"slice {z} has no mask: {reason}")
    elif len(around) == 2 and expected.any():
        target_state.put(
            z, expected, _FILLED_SCORE * min(target_state.scores[z - 1], target_state.scores[z + 1])
        )
        target_state.warnings.append(f"slice {z} was filled from its neighbours: {finding.why}")
    elif earlier is not None:
        target_state.warnings.append(f"slice {z} was cut: {finding.why}")
