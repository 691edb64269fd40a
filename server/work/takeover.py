"""Workers that died leave workflows behind; those that live take them over. DBOS does not do this by itself."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from dbos import DBOSClient, WorkflowStatusString
from sqlalchemy.exc import SQLAlchemyError

from server.errors import RecordUnavailable
from server.record import requests
from server.record.engine import Sessions, dbos_url
from server.record.jobs import DBOS_NAME, DBOS_SCHEMA, DELIVERY_QUEUE, STUDY_QUEUE, Jobs
from server.record.workers import WorkerIdentity, Workers

logger = logging.getLogger(__name__)

BEAT_S = 1.0
SILENCE_S = 15.0
_QUEUES = [STUDY_QUEUE, DELIVERY_QUEUE]
_UNFINISHED: list[str] = [
    WorkflowStatusString.PENDING.value,
    WorkflowStatusString.ENQUEUED.value,
    WorkflowStatusString.DELAYED.value,
]


def open_client(url: str) -> DBOSClient:
    """A client of the workflows in the record's database; nothing is connected yet."""
    return DBOSClient(
        system_database_url=dbos_url(url),
        dbos_system_schema=DBOS_SCHEMA,
        application_name=DBOS_NAME,
        lazy=True,
        retry_connection_errors=False,
    )


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
    orphans = [one for one in pending if one.executor_id not in alive]
    for one in orphans:
        logger.warning("taking over %s from worker %s", one.workflow_id, one.executor_id)
        client.resume_workflow(one.workflow_id, queue_name=one.queue_name)
    return [one.workflow_id for one in orphans]


def renew_older(client: DBOSClient, sessions: Sessions, jobs: Jobs) -> int:
    """Work of older pipeline numbers begins anew and its workflows are cancelled; how many requests."""
    with sessions.begin() as session:
        renewed = requests.begin_older_anew(session, jobs)
    known = client.list_workflows(
        status=_UNFINISHED, queue_name=_QUEUES, load_input=False, load_output=False
    )
    older = [
        one.workflow_id
        for one in known
        if one.app_version is not None and int(one.app_version) < jobs.pipeline_version
    ]
    if older:
        client.cancel_workflows(older)
    return renewed


class Heartbeat:
    """A thread that says this worker lives and takes over from those that do not.

    Silence counts only while this worker itself has heard from the database all along: after the database was away,
    every worker is given time to speak up.
    """

    def __init__(
        self,
        client: DBOSClient,
        workers: Workers,
        identity: WorkerIdentity,
        clock: Callable[[], float] = time.monotonic,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._client = client
        self._workers = workers
        self._identity = identity
        self._clock = clock
        self._silence_s = silence_s
        self._listening_since: float | None = None
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
        except RecordUnavailable:
            logger.info("could not sign off: others will notice")

    def beat(self) -> list[str]:
        """Beat once; what was taken over."""
        now = self._clock()
        try:
            self._workers.beat(self._identity)
            if self._listening_since is None:
                self._listening_since = now
            judged = now - self._listening_since >= self._silence_s
            self._workers.bury(self._silence_s if judged else None)
            return resume_orphans(self._client, self._workers)
        except (RecordUnavailable, SQLAlchemyError) as error:
            if self._listening_since is not None:
                logger.warning("no heartbeat: %s", type(error).__name__)
            self._listening_since = None
            return []

    def _run(self) -> None:
        while not self._stop.wait(BEAT_S):
            self.beat()
