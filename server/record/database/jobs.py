"""How the record hands work over: the job is written in the request's own transaction."""

from __future__ import annotations

import logging
from typing import Protocol

from dbos import DBOSClient, EnqueueOptions
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.record.database.engine import dbos_url
from server.record.database.plain_workflows import WORKFLOW_JSON

logger = logging.getLogger(__name__)

# Raised by hand whenever the steps of the workflow change: work begun by an older number begins
# anew.
PIPELINE_VERSION = 4

STUDY_QUEUE = "studies"
DELIVERY_QUEUE = "deliveries"
STUDY_WORKFLOW = "study_run"
DELIVERY_WORKFLOW = "delivery_try"
DBOS_SCHEMA = "dbos"
WORK_CHANNEL = "segnode_work"
"""Every queued job is a NOTIFY on it, with the name of the queue: idle workers LISTEN."""
DBOS_NAME = "segnode"


class Jobs(Protocol):
    """Where work is handed over."""

    pipeline_version: int  # the number of the steps that new work will follow

    def study(self, session: Session, request_id: str, run: int, priority: int) -> None:
        """Queue the work on a request within `session`'s transaction.

        Lower `priority` comes first.
        """

    def delivery(
        self,
        session: Session,
        request_id: str,
        destination: str,
        run: int,
        attempt: int,
        delay_s: float,
    ) -> None:
        """Queue a try to deliver within `session`'s transaction, due after `delay_s`."""

    def delivery_now(
        self, session: Session, request_id: str, destination: str, run: int, attempt: int
    ) -> None:
        """Make a try that is queued for later due at once."""


def workflow_id(request_id: str, run: int) -> str:
    """The workflow of a request is called like it; later runs carry their number."""
    return request_id if run == 1 else f"{request_id}:run-{run}"


def _delivery_name(request_id: str, destination: str, run: int, attempt: int) -> str:
    return f"{workflow_id(request_id, run)}:send:{destination}:{attempt}"


def work_named(workflow: str) -> tuple[str, int, tuple[str, int] | None]:
    """What a workflow is named after: request, run and, for a delivery, destination and try.

    >>> work_named("ab12:run-2:send:pacs:3")
    ('ab12', 2, ('pacs', 3))
    >>> work_named("ab12")
    ('ab12', 1, None)
    """
    work, is_delivery, delivery = workflow.partition(":send:")
    request_id, _, run = work.partition(":run-")
    destination, _, attempt = delivery.rpartition(":")
    return request_id, int(run or 1), (destination, int(attempt)) if is_delivery else None


def open_client(url: str) -> DBOSClient:
    """A client of the workflows in the record's database; nothing is connected yet."""
    return DBOSClient(
        system_database_url=dbos_url(url),
        dbos_system_schema=DBOS_SCHEMA,
        application_name=DBOS_NAME,
        lazy=True,
        retry_connection_errors=False,
        serializer=WORKFLOW_JSON,
    )


def announce_work(session: Session, queue: str) -> None:
    """Wake the workers that take from `queue` when `session`'s transaction is committed."""
    session.execute(select(func.pg_notify(WORK_CHANNEL, queue)))


class DbosJobs:
    """Jobs as DBOS workflows in the same database (facts: works on a psycopg 2 connection)."""

    def __init__(self, url: str, pipeline_version: int = PIPELINE_VERSION) -> None:
        self.pipeline_version = pipeline_version
        self._client = open_client(url)

    def study(self, session: Session, request_id: str, run: int, priority: int) -> None:
        """See Jobs; a job that is there already stays as it is."""
        options = self._options(STUDY_WORKFLOW, STUDY_QUEUE, workflow_id(request_id, run))
        options["priority"] = priority
        session.flush()  # what PostgreSQL refuses of our own rows is not the job's error
        self._client.enqueue_in_transaction(session, options, request_id, run)
        announce_work(session, STUDY_QUEUE)

    def delivery(
        self,
        session: Session,
        request_id: str,
        destination: str,
        run: int,
        attempt: int,
        delay_s: float,
    ) -> None:
        """See Jobs; a job that is there already stays as it is."""
        name = _delivery_name(request_id, destination, run, attempt)
        options = self._options(DELIVERY_WORKFLOW, DELIVERY_QUEUE, name)
        if delay_s > 0:
            options["delay_seconds"] = delay_s
        session.flush()
        self._client.enqueue_in_transaction(session, options, request_id, destination, run, attempt)
        announce_work(session, DELIVERY_QUEUE)

    def delivery_now(
        self, session: Session, request_id: str, destination: str, run: int, attempt: int
    ) -> None:
        """See Jobs; a try that is due already stays as it is. Whether `session` commits or not."""
        name = _delivery_name(request_id, destination, run, attempt)
        self._client.set_workflow_delay(name, delay_seconds=0)
        announce_work(session, DELIVERY_QUEUE)

    def close(self) -> None:
        """Give the connections back."""
        self._client.destroy()

    def _options(self, workflow: str, queue: str, name: str) -> EnqueueOptions:
        return EnqueueOptions(
            workflow_name=workflow,
            queue_name=queue,
            workflow_id=name,
            app_version=str(self.pipeline_version),
            application_name=DBOS_NAME,
        )
