"""The slices between two drawn ones of a thin-sliced volume: interpolated where these agree, drawn
where they do not.

What the models are not asked is bounded by what they drew: a slice is interpolated only where its
drawn neighbours overlap to a Dice of `fill_agreement`. Otherwise the slice midway is drawn, and the
two halves are looked at again, so that an end, a fork or a fast change is drawn slice by slice.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import pairwise

from agent.episode.tidy import tidy_slice
from agent.turns import Turn
from agent.values import Role
from agent.volume.beside import draw_beside
from agent.volume.between import dice, interpolated
from agent.volume.target_state import TargetState, listed


def fill(target_state: TargetState, lower: int, upper: int) -> Generator[Turn, None, None]:
    """Give the slices between `lower` and `upper` masks; yields the turns of those that are drawn.

    With a mask on one of the two only, the end between them is looked for; with none, nothing is
    done.
    """
    masked = [z for z in (lower, upper) if z in target_state.masks]
    if upper - lower < 2 or not masked:
        return
    if len(masked) == 2 and _interpolate(target_state, lower, upper):
        return
    middle = (lower + upper) // 2
    if target_state.likely(middle):
        yield from draw_beside(target_state, middle, (masked[0], masked[-1]))
    yield from fill(target_state, lower, middle)
    yield from fill(target_state, middle, upper)


def refill(target_state: TargetState, changed: Iterable[int]) -> Generator[Turn, None, None]:
    """Interpolate anew what came from slices that were `changed` since; yields the turns."""
    touched = set(changed)
    spans = {
        (lower, upper)
        for lower, upper in target_state.interpolated.values()
        if any(lower <= z <= upper for z in touched)
    }
    stale = [z for z, span in target_state.interpolated.items() if span in spans]
    for z in stale:
        target_state.take(z)
    before = frozenset(target_state.interpolated)
    for lower, upper in sorted(spans):
        inside = [z for z in range(lower + 1, upper) if z in target_state.masks]
        for below, above in pairwise((lower, *inside, upper)):
            yield from fill(target_state, below, above)
    yield from record_filled(target_state, before)


def record_filled(target_state: TargetState, before: frozenset[int]) -> Generator[Turn, None, None]:
    """Record what was interpolated beside the slices `before`; yields the turn, if there is any."""
    filled = sorted(target_state.interpolated.keys() - before)
    if filled:
        sources = {source for z in filled for source in target_state.interpolated[z]}
        observation = f"interpolated, each between the nearest two of {listed(sources)}"
        masks = {z: target_state.masks[z] for z in filled}
        yield target_state.record_slices(Role.FILL, observation, masks)


def _interpolate(target_state: TargetState, lower: int, upper: int) -> bool:
    """Fill what lies between two drawn slices that agree; whether they do."""
    masks, scores = target_state.masks, target_state.scores
    agreement = dice(masks[lower], masks[upper])
    if agreement < target_state.limits.fill_agreement:
        return False
    # no surer than the less sure of the two, times the Dice that such a slice had (between.py)
    score = min(scores[lower], scores[upper]) * (1 + agreement) / 2
    for z in range(lower + 1, upper):
        if z in target_state.absences:
            continue
        mask = interpolated(masks[lower], masks[upper], (z - lower) / (upper - lower))
        target_state.put(z, tidy_slice(mask), score, (lower, upper))
    return True
