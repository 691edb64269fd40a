"""The order of a study's stages: select, every target through the volume, write. Where the same
was asked before, its results stand in for all that comes after select.

`run_study` is the one order of work. server.work.workflow takes it with steps that are durable,
server.local and the tests with `StudyRun`, whose steps follow each other in this process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from agent.turns import Turn
from agent.volume.order import TargetWork, segment_targets
from dicom_node.values import WrittenResult
from server.ports import Stages
from server.values import Assignment, TargetSummary


class StudyWork(TargetWork, Protocol):
    """The steps of the work on a study. A step answers None or False to end the work there."""

    def select(self) -> int | None:
        """Choose the series; how many targets there are."""

    def repeat(self) -> bool | None:
        """Give an earlier answer again: False where there is none."""

    def write(self) -> bool:
        """Write and check the results."""


def run_study(work: StudyWork) -> bool:
    """Take a study through all steps of `work` in order; False where a step ended it."""
    targets = work.select()
    if targets is None:
        return False
    is_answered = work.repeat()
    if is_answered is not False:
        return bool(is_answered)
    return segment_targets(work, targets) and work.write()


class StudyRun:
    """The stages of one study one after the other, in this process; what they raise passes through.

    `on_turn` is handed every turn with its target's index; `summaries` and `results` grow as the
    targets end and the results are written.
    """

    def __init__(
        self, stages: Stages, assignment: Assignment, on_turn: Callable[[int, Turn], None]
    ) -> None:
        self._stages, self._assignment, self._on_turn = stages, assignment, on_turn
        self.summaries: tuple[TargetSummary, ...] = ()
        self.results: tuple[WrittenResult, ...] = ()

    def run(self) -> None:
        """Take the study through all its stages."""
        run_study(self)

    def select(self) -> int:
        """See StudyWork."""
        self._stages.select(self._assignment)
        return len(self._assignment.targets)

    def repeat(self) -> bool:
        """See StudyWork: without a record there is nothing earlier."""
        return False

    def outline(self, index: int) -> bool:
        """See TargetWork."""
        self._stages.outline(self._assignment, index, partial(self._on_turn, index))
        return True

    def follow(self) -> bool:
        """See TargetWork."""
        self._stages.follow(self._assignment, self._on_turn)
        return True

    def finish(self, index: int) -> bool:
        """See TargetWork."""
        on_turn = partial(self._on_turn, index)
        summary = self._stages.finish(self._assignment, index, on_turn)
        self.summaries = (*self.summaries, summary)
        return True

    def write(self) -> bool:
        """See StudyWork."""
        self.results = self._stages.write(self._assignment, self.summaries)
        return True
