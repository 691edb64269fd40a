"""The agent's work on the targets of one volume: outlined one by one, followed together, finished
one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from agent.limits import Limits
from agent.ports import Slices
from agent.turns import TargetResult, Turn
from agent.values import Target
from agent.volume.outline import Outline, outline_target
from agent.volume.run import finish_target, follow_outlines
from agent.volume.target_state import EpisodeConfig
from server.ports import LoadedModels, Prepared
from server.values import AskedTarget

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class VolumeWork:
    """The models, a volume made ready for them, and the agent's budgets."""

    workbench: LoadedModels
    prepared: Prepared
    limits: Limits

    def outline(self, asked: AskedTarget, on_turn: Callable[[Turn], None]) -> Outline:
        """Look for a target and draw it on its key slices, telling every turn as it happens."""
        target, bench = Target(asked.text, asked.structure), self.workbench
        return _told(
            outline_target(target, self._slices(asked), bench.policy, bench.segmenter, self.limits),
            on_turn,
        )

    def follow(
        self,
        asked: Sequence[AskedTarget],
        outlines: Mapping[int, Outline],
        on_turn: Callable[[int, Turn], None],
    ) -> dict[int, Outline]:
        """The outlines (by target index) followed through the volume: one pass for all that are
        seen through the same window. Only those that changed are answered.
        """
        changed: dict[int, Outline] = {}
        for slices, together in self._by_slices(asked).items():
            before = {index: outlines[index] for index in together if index in outlines}
            after = follow_outlines(list(before.values()), slices, self._workers)
            for (index, old), new in zip(before.items(), after, strict=True):
                if new is not old:
                    changed[index] = new
                    for turn in new.turns[len(old.turns) :]:
                        on_turn(index, turn)
        return changed

    def finish(
        self, asked: AskedTarget, outline: Outline, on_turn: Callable[[Turn], None]
    ) -> TargetResult:
        """Bring an outlined target to its end, telling every further turn as it happens."""
        return _told(finish_target(outline, self._slices(asked), self._workers), on_turn)

    @property
    def _workers(self) -> EpisodeConfig:
        return EpisodeConfig(self.workbench.policy, self.workbench.segmenter, self.limits)

    def _slices(self, asked: AskedTarget) -> Slices:
        return self.prepared.slices_for(asked.structure or asked.text)

    def _by_slices(self, asked: Sequence[AskedTarget]) -> dict[Slices, list[int]]:
        found: dict[Slices, list[int]] = {}
        for one in asked:
            found.setdefault(self._slices(one), []).append(one.index)
        return found


def work_on_targets(
    work: VolumeWork, asked: Sequence[AskedTarget], on_turn: Callable[[int, Turn], None]
) -> Iterator[TargetResult]:
    """All targets of a volume from beginning to end, each given as it ends, in the order asked, so
    that no two whole masks need to be kept; every turn is told with its target's index.
    """

    def teller(index: int) -> Callable[[Turn], None]:
        return lambda turn: on_turn(index, turn)

    outlines = {one.index: work.outline(one, teller(one.index)) for one in asked}
    outlines |= work.follow(asked, outlines, on_turn)
    for one in asked:
        yield work.finish(one, outlines.pop(one.index), teller(one.index))


def _told(work: Generator[Turn, None, T], on_turn: Callable[[Turn], None]) -> T:
    while True:
        try:
            turn = next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        on_turn(turn)
