"""Whether a worker moves. Its loop is DBOS's own, so what it does is looked at from both ends:
stages that begin and turns that come, and requests that wait although there is room for them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dbos import DBOSClient, WorkflowStatusString
from sqlalchemy.exc import SQLAlchemyError

from agent.turns import Turn
from dicom_node.values import WrittenResult
from server.errors import RecordUnavailable
from server.ports import Stages
from server.pulses import Pulse
from server.record.database.jobs import STUDY_QUEUE
from server.values import Assignment, Selection, Stage, TargetSummary


class Movement:
    """Beats `pulse` for a worker of `requests_at_once` threads.

    `waiting` gives the request that has waited longest, if any. While there is room for it and it
    still waits, nobody takes work, and the pulse is not beaten. A worker whose threads are all
    taken has `busy_limit_s` from one turn to the next.
    """

    def __init__(
        self,
        pulse: Pulse,
        waiting: Callable[[], str | None],
        requests_at_once: int,
        busy_limit_s: float,
    ) -> None:
        self._pulse, self._waiting = pulse, waiting
        self._requests_at_once, self._busy_limit_s = requests_at_once, busy_limit_s
        self._lock = threading.Lock()
        self._inside = 0
        self._waited: str | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A stage runs while the block does."""
        with self._lock:
            self._inside += 1
        self.moved(name)
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
            self.moved("take the next request")

    def moved(self, doing: str) -> None:
        """Something was done, and `doing` comes next."""
        self._pulse.beat(doing, limit_s=self._busy_limit_s if self._inside else None)

    def look(self) -> None:
        """Look from outside, now and then; RecordUnavailable when nothing can be seen."""
        if self._inside >= self._requests_at_once:
            self._waited = None
            return
        waiting = self._waiting()
        if waiting is None or waiting != self._waited:
            self.moved("take the next request")
        self._waited = waiting


class WatchedStages:
    """Stages whose every beginning, turn and end is movement."""

    def __init__(self, stages: Stages, movement: Movement) -> None:
        self._stages, self._movement = stages, movement

    def select(self, assignment: Assignment) -> Selection:
        """See Stages."""
        with self._movement.stage(Stage.SELECT):
            return self._stages.select(assignment)

    def answer_digest(self, assignment: Assignment) -> str:
        """See Stages."""
        with self._movement.stage(Stage.OUTLINE):
            return self._stages.answer_digest(assignment)

    def reuse(
        self, assignment: Assignment, earlier_id: str, results: Sequence[WrittenResult]
    ) -> tuple[WrittenResult, ...] | None:
        """See Stages."""
        with self._movement.stage(Stage.WRITE):
            return self._stages.reuse(assignment, earlier_id, results)

    def outline(self, assignment: Assignment, index: int, on_turn: Callable[[Turn], None]) -> None:
        """See Stages."""
        with self._movement.stage(Stage.OUTLINE):
            self._stages.outline(assignment, index, self._watched(on_turn, Stage.OUTLINE))

    def follow(self, assignment: Assignment, on_turn: Callable[[int, Turn], None]) -> None:
        """See Stages."""

        def watched(index: int, turn: Turn) -> None:
            self._movement.moved(Stage.FOLLOW)
            on_turn(index, turn)

        with self._movement.stage(Stage.FOLLOW):
            self._stages.follow(assignment, watched)

    def finish(
        self, assignment: Assignment, index: int, on_turn: Callable[[Turn], None]
    ) -> TargetSummary:
        """See Stages."""
        with self._movement.stage(Stage.FINISH):
            return self._stages.finish(assignment, index, self._watched(on_turn, Stage.FINISH))

    def write(
        self, assignment: Assignment, targets: Sequence[TargetSummary]
    ) -> tuple[WrittenResult, ...]:
        """See Stages."""
        with self._movement.stage(Stage.WRITE):
            return self._stages.write(assignment, targets)

    def discard(self, assignment: Assignment) -> None:
        """See Stages."""
        self._stages.discard(assignment)

    def encoder_passes(self, assignment: Assignment) -> int:
        """See Stages."""
        return self._stages.encoder_passes(assignment)

    def _watched(self, on_turn: Callable[[Turn], None], doing: str) -> Callable[[Turn], None]:
        def watched(turn: Turn) -> None:
            self._movement.moved(doing)
            on_turn(turn)

        return watched


def longest_waiting(client: DBOSClient, pipeline_version: int) -> str | None:
    """The workflow that has waited longest for a worker of this pipeline number;
    RecordUnavailable.
    """
    try:
        waiting = client.list_workflows(
            status=WorkflowStatusString.ENQUEUED.value,
            queue_name=STUDY_QUEUE,
            app_version=str(pipeline_version),
            limit=1,
            load_input=False,
            load_output=False,
        )
    except SQLAlchemyError as error:
        raise RecordUnavailable("the queue cannot be looked at") from error
    return waiting[0].workflow_id if waiting else None
