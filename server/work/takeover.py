"""Workers that died leave workflows behind; those that live take them over. DBOS does not do this
by itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from itertools import count

from dbos import DBOSClient, WorkflowStatusString
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from server.errors import RecordError, RequestError, RunEnded
from server.record import requests
from server.record.database.engine import Sessions
from server.record.database.jobs import DBOS_SCHEMA, DELIVERY_QUEUE, STUDY_QUEUE, Jobs, work_named
from server.record.database.plain_workflows import WORKFLOW_JSON
from server.record.deliveries import Deliveries, DeliveryAttempt
from server.record.processes.workers import WorkerIdentity, Workers
from server.record.runs import Runs
from server.values import Stage

logger = logging.getLogger(__name__)

BEAT_S = 5.0
THOROUGH_BEATS = 3
"""Every so many beats what is rarely wrong is looked at, too."""
SILENCE_S = 15.0
_QUEUES = [STUDY_QUEUE, DELIVERY_QUEUE]
_UNFINISHED: list[str] = [
    WorkflowStatusString.PENDING.value,
    WorkflowStatusString.ENQUEUED.value,
    WorkflowStatusString.DELAYED.value,
]


def resume_orphans(client: DBOSClient, workers: Workers) -> list[str]:
    """Queue again what runs nowhere: PENDING workflows of executors that have no row. Their ids."""
    # workflows first, workers second: a worker has its row before it takes its first workflow
    pending = client.list_workflows(
        status=WorkflowStatusString.PENDING.value,
        queue_name=_QUEUES,
        load_input=False,
        load_output=False,
    )
    alive = workers.alive() if pending else set()
    orphans = [workflow for workflow in pending if workflow.executor_id not in alive]
    for workflow in orphans:
        logger.warning("taking over %s from worker %s", workflow.workflow_id, workflow.executor_id)
        client.resume_workflow(workflow.workflow_id, queue_name=workflow.queue_name)
    return [workflow.workflow_id for workflow in orphans]


def hasten_deliveries(client: DBOSClient, longest_wait_s: float) -> list[str]:
    """Shorten waits that are longer than any may be: they were reckoned before the clock was put
    back. Their ids.
    """
    waiting = client.list_workflows(
        status=WorkflowStatusString.DELAYED.value,
        queue_name=DELIVERY_QUEUE,
        load_input=False,
        load_output=False,
    )
    latest_ms = (time.time() + longest_wait_s) * 1000
    late = [
        workflow.workflow_id
        for workflow in waiting
        if workflow.delay_until_epoch_ms is not None and workflow.delay_until_epoch_ms > latest_ms
    ]
    for workflow_id in late:
        logger.warning(
            "the clock was put back: %s is tried within %.0f s", workflow_id, longest_wait_s
        )
        client.set_workflow_delay(workflow_id, delay_seconds=longest_wait_s)
    return late


BROKEN = (
    "the work on this request broke off, because what the database holds of it could not be read; "
    "see the log, and retry"
)
_BROKEN_STATES: list[str] = [
    WorkflowStatusString.ERROR.value,
    WorkflowStatusString.MAX_RECOVERY_ATTEMPTS_EXCEEDED.value,
]


class BrokenWorkflows:
    """Ends the requests and deliveries whose workflows DBOS gave up: our steps never raise, so that
    such a workflow was changed from outside, or its entry cannot be read.
    """

    def __init__(
        self, client: DBOSClient, sessions: Sessions, runs: Runs, deliveries: Deliveries
    ) -> None:
        self._client, self._sessions = client, sessions
        self._runs, self._deliveries = runs, deliveries
        self._settled: set[str] = set()

    def settle(self) -> list[str]:
        """Look once; the workflows whose requests or deliveries were ended."""
        broken = self._client.list_workflows(
            status=_BROKEN_STATES, queue_name=_QUEUES, load_input=False, load_output=False
        )
        foreign = self._foreign()
        if foreign:
            self._client.cancel_workflows(foreign)
        new = ({workflow.workflow_id for workflow in broken} | set(foreign)) - self._settled
        ended = [workflow for workflow in sorted(new) if self._end(workflow)]
        self._settled |= new
        return ended

    def _foreign(self) -> list[str]:
        # DBOS cannot even say of these that they failed: it would say so in the form that it does
        # not know
        query = text(
            f"SELECT workflow_uuid FROM {DBOS_SCHEMA}.workflow_status "  # noqa: S608 - our own constant
            "WHERE status = :running AND queue_name = ANY(:queues) AND serialization <> :ours"
        )
        named = {
            "running": WorkflowStatusString.PENDING.value,
            "queues": _QUEUES,
            "ours": WORKFLOW_JSON.name(),
        }
        with self._sessions.begin() as session:
            return list(session.scalars(query, named))

    def _end(self, workflow: str) -> bool:
        try:
            request_id, run, delivery = work_named(workflow)
            if delivery is None:
                self._runs.fail(request_id, run, Stage.SELECT, BROKEN)
            else:
                attempt = DeliveryAttempt(request_id, delivery[0], run, delivery[1])
                self._deliveries.failed(attempt, BROKEN, 0.0, None)
        except (RunEnded, RequestError, ValueError):
            return False  # long ended, or no work of ours
        logger.error(
            "workflow %r broke off: what the database holds of it cannot be read", workflow
        )
        return True


def renew_older(client: DBOSClient, sessions: Sessions, jobs: Jobs) -> int:
    """Work of older pipeline numbers begins anew and its workflows are cancelled; how many
    requests.
    """
    with sessions.begin() as session:
        renewed = requests.begin_older_anew(session, jobs)
    unfinished = client.list_workflows(
        status=_UNFINISHED, queue_name=_QUEUES, load_input=False, load_output=False
    )
    older = [
        workflow.workflow_id
        for workflow in unfinished
        if workflow.app_version is not None and int(workflow.app_version) < jobs.pipeline_version
    ]
    if older:
        client.cancel_workflows(older)
    return renewed


class Heartbeat:
    """A thread that says this worker lives and takes over from those that do not.

    Silence counts only while this worker itself has heard from the database all along: after the
    database was away, every worker is given time to speak up. No delivery waits longer than
    `longest_wait_s`, whatever the clock does. `announce` wakes the workers for what was taken over.
    Beats are `beat_s` seconds apart.
    """

    def __init__(
        self,
        client: DBOSClient,
        workers: Workers,
        identity: WorkerIdentity,
        clock: Callable[[], float] = time.monotonic,
        silence_s: float = SILENCE_S,
        broken: BrokenWorkflows | None = None,
        *,
        longest_wait_s: float | None = None,
        announce: Callable[[], object] = lambda: None,
        beat_s: float = BEAT_S,
    ) -> None:
        self._beat_s = beat_s
        self._client, self._announce = client, announce
        self._longest_wait_s = longest_wait_s
        self._broken = broken
        self._workers = workers
        self._identity = identity
        self._clock = clock
        self._silence_s = silence_s
        self._listening_since: float | None = None
        self._alive: frozenset[str] = frozenset()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Stop beating and leave."""
        self._stop.set()
        self._thread.join(timeout=5.0)
        try:
            self._workers.leave(self._identity)
        except RecordError:
            logger.info("could not sign off: others will notice")

    def beat(self, *, thorough: bool = True) -> list[str]:
        """Beat once; what was taken over. A `thorough` one looks also for workflows that broke off
        and for waits that a changed clock made too long.
        """
        now = self._clock()
        try:
            self._workers.beat(self._identity)
            if self._listening_since is None:
                self._listening_since = now
            judged = now - self._listening_since >= self._silence_s
            census = self._workers.bury(self._silence_s if judged else None)
            if thorough and self._broken is not None:
                self._broken.settle()
            if thorough and self._longest_wait_s is not None:
                hasten_deliveries(self._client, self._longest_wait_s)
            # work loses its worker when the workers change; else, as after a takeover that was cut
            # short, the next thorough beat is soon enough
            is_changed = bool(census.dead) or census.alive != self._alive
            resumed = []
            if thorough or is_changed:
                resumed = resume_orphans(self._client, self._workers)
            self._alive = census.alive
            if resumed:
                self._announce()
            return resumed
        except (RecordError, SQLAlchemyError) as error:
            if self._listening_since is not None:
                logger.warning("no heartbeat: %s", type(error).__name__)
            self._listening_since = None
            return []

    def _run(self) -> None:
        for beat in count(1):
            if self._stop.wait(self._beat_s):
                return
            self.beat(thorough=beat % THOROUGH_BEATS == 0)
