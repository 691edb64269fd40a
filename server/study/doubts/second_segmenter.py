"""Two segmenters that draw another mask for the same prompts: a doubt about both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from agent.episode.second_opinion import second_opinion
from agent.limits import Limits
from agent.ports import Segmenter, Slices
from agent.turns import TargetResult


@dataclass(frozen=True)
class SecondSegmenter:
    """Who is shown the same prompts: `segmenter` loads it at its first use, and a Dice below
    `agree_dice` (0..1) is a doubt.
    """

    segmenter: Callable[[], Segmenter]
    agree_dice: float

    def look_at(
        self, result: TargetResult, slices: Slices, drawn_by: str, limits: Limits
    ) -> TargetResult:
        """The result with the second opinion; as it is where nothing was segmented, and where the
        second segmenter drew it (`drawn_by`), as a request may ask: it would agree with itself.
        """
        if result.voxels is None or not result.voxels.any():
            return result
        segmenter = self.segmenter()
        if segmenter.name == drawn_by:
            return result
        opinion = second_opinion(result, slices, segmenter, limits)
        return replace(result, second_opinion=opinion)

    def doubts(self, result: TargetResult) -> tuple[str, ...]:
        """A sentence where both disagree, and where the second could draw nothing."""
        opinion = result.second_opinion
        if opinion is None:
            return ()
        if opinion.dice is None:
            return (f"{opinion.segmenter} drew nothing for these prompts: no second opinion",)
        if opinion.dice >= self.agree_dice:
            return ()
        count = len(opinion.slices)
        where = f"{count} slice{'' if count == 1 else 's'} beside {opinion.segmenter}'s"
        return (f"two segmenters disagree: Dice {opinion.dice:.2f} on {where}",)
