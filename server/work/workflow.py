"""The durable workflows. Finished steps are not repeated, an unfinished one is run again from its
beginning.

Change the order or number of steps -> raise server.record.database.jobs.PIPELINE_VERSION.
"""

from __future__ import annotations

from dbos import DBOS

from server.record.database.jobs import DELIVERY_WORKFLOW, STUDY_WORKFLOW
from server.record.deliveries import DeliveryAttempt
from server.work.delivery import DeliveryStep
from server.work.stages import StageSteps


def register(stages: StageSteps, delivery: DeliveryStep) -> None:
    """Make the workflows known to DBOS; once a process, before it is launched."""

    @DBOS.workflow(name=STUDY_WORKFLOW)
    def study_run(request_id: str, run: int) -> str:
        targets = DBOS.run_step({"name": "select"}, stages.select, request_id, run)
        if targets is None:
            return "ended"
        for index in range(targets):
            name = f"outline {index}"
            if not DBOS.run_step({"name": name}, stages.outline, request_id, run, index):
                return "ended"
        if not DBOS.run_step({"name": "follow"}, stages.follow, request_id, run):
            return "ended"
        for index in range(targets):
            name = f"segment {index}"
            if not DBOS.run_step({"name": name}, stages.segment, request_id, run, index):
                return "ended"
        if not DBOS.run_step({"name": "write"}, stages.write, request_id, run):
            return "ended"
        DBOS.run_step({"name": "send"}, stages.send, request_id, run)
        return "sending"

    @DBOS.workflow(name=DELIVERY_WORKFLOW)
    def delivery_try(request_id: str, destination: str, run: int, attempt: int) -> str:
        one = DeliveryAttempt(request_id, destination, run, attempt)
        return DBOS.run_step({"name": "send"}, delivery.attempt, one)
