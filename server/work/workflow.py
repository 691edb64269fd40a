"""The durable workflows. Finished steps are not repeated; an unfinished one begins anew.

Change the order, number or names of steps -> raise server.record.database.jobs.PIPELINE_VERSION.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dbos import DBOS

from server.record.database.jobs import DELIVERY_WORKFLOW, STUDY_WORKFLOW
from server.record.deliveries import DeliveryAttempt
from server.study.stage_order import run_study
from server.values import Stage
from server.work.delivery import DeliveryStep
from server.work.stages import StageSteps

T = TypeVar("T")


@dataclass(frozen=True)
class _DurableWork:
    """The steps of server.study.stage_order.StudyWork as steps of one workflow."""

    stages: StageSteps
    request_id: str
    run: int

    def select(self) -> int | None:
        return self._step(Stage.SELECT, self.stages.select)

    def repeat(self) -> bool | None:
        return DBOS.run_step({"name": "repeat"}, self.stages.repeat, self.request_id, self.run)

    def outline(self, index: int) -> bool:
        return self._of_target(Stage.OUTLINE, index, self.stages.outline)

    def follow(self) -> bool:
        return bool(self._step(Stage.FOLLOW, self.stages.follow))

    def finish(self, index: int) -> bool:
        return self._of_target(Stage.FINISH, index, self.stages.finish)

    def write(self) -> bool:
        return bool(self._step(Stage.WRITE, self.stages.write))

    def send(self) -> bool:
        return bool(self._step(Stage.SEND, self.stages.send))

    def _step(self, stage: Stage, act: Callable[[str, int], T]) -> T:
        return DBOS.run_step({"name": stage.value}, act, self.request_id, self.run)

    def _of_target(
        self, stage: Stage, index: int, act: Callable[[str, int, int], bool | None]
    ) -> bool:
        name = f"{stage.value} {index}"
        return bool(DBOS.run_step({"name": name}, act, self.request_id, self.run, index))


def register(stages: StageSteps, delivery: DeliveryStep) -> None:
    """Make the workflows known to DBOS; once a process, before it is launched."""

    @DBOS.workflow(name=STUDY_WORKFLOW)
    def study_run(request_id: str, run: int) -> str:
        work = _DurableWork(stages, request_id, run)
        if not run_study(work):
            return "ended"
        work.send()
        return "sending"

    @DBOS.workflow(name=DELIVERY_WORKFLOW)
    def delivery_try(request_id: str, destination: str, run: int, attempt: int) -> str:
        delivery_attempt = DeliveryAttempt(request_id, destination, run, attempt)
        return DBOS.run_step({"name": Stage.SEND.value}, delivery.attempt, delivery_attempt)
