"""A worker process: launches DBOS, beats, and works on one request or several while it delivers
others.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from dbos import DBOS, DBOSConfig

from dicom_node.ports import Destination
from server.ports import Stages
from server.record.database.engine import Sessions, dbos_url, open_engine
from server.record.database.jobs import (
    DBOS_NAME,
    DBOS_SCHEMA,
    DELIVERY_QUEUE,
    PIPELINE_VERSION,
    STUDY_QUEUE,
    DbosJobs,
    announce_work,
    open_client,
)
from server.record.database.migrate import upgrade
from server.record.database.plain_workflows import WORKFLOW_JSON
from server.record.deliveries import Deliveries
from server.record.processes.workers import WorkerIdentity, Workers
from server.record.runs import Runs
from server.work.database_retry import retry_while_database_away
from server.work.deadlines import StageLimits, StageWatch
from server.work.delivery import DeliveryStep, RetryPolicy
from server.work.movement import longest_waiting
from server.work.queues import Pace, WorkQueues
from server.work.stages import StageSteps
from server.work.takeover import BEAT_S, BrokenWorkflows, Heartbeat, renew_older
from server.work.workflow import register

logger = logging.getLogger(__name__)

DELIVERIES_AT_ONCE = 4


class Worker:
    """One a process: DBOS is one a process. `stages` does the work, `destinations` by name take the
    results.

    `stages` is called by `requests_at_once` threads, each of which works on one request, within
    `limits`. Results lie under `storage`.
    """

    def __init__(
        self,
        url: str,
        stages: Stages,
        destinations: Mapping[str, Destination],
        policy: RetryPolicy,
        *,
        requests_at_once: int = 1,
        limits: StageLimits | None = None,
        storage: Path = Path(),
        pipeline_version: int = PIPELINE_VERSION,
        pace: Pace = Pace(),  # noqa: B008 - it is frozen
        beat_s: float = BEAT_S,
    ) -> None:
        self._url, self._requests_at_once = url, requests_at_once
        self._engine = open_engine(url, pool_size=DELIVERIES_AT_ONCE + requests_at_once + 2)
        self._sessions = Sessions(self._engine)
        self._jobs = DbosJobs(url, pipeline_version)
        self._client = open_client(url)
        self._workers = Workers(self._sessions)
        self.identity = WorkerIdentity.of_this_process()
        runs = Runs(self._sessions, self._jobs, storage)
        deliveries = Deliveries(self._sessions, self._jobs, storage)
        broken = BrokenWorkflows(self._client, self._sessions, runs, deliveries)
        self._heartbeat = Heartbeat(
            self._client,
            self._workers,
            self.identity,
            broken=broken,
            longest_wait_s=policy.longest_wait_s,
            announce=lambda: announce_all(self._sessions),
            beat_s=beat_s,
        )
        self._queues = WorkQueues(self._engine, pace)
        self._watch = StageWatch(runs, limits or StageLimits())
        self._steps = StageSteps(stages, runs, self._watch)
        self._delivery = DeliveryStep(destinations, deliveries, policy)

    def start(self) -> None:
        """Wait for the database, take over what dead workers left, and begin to work."""
        retry_while_database_away(lambda: upgrade(self._engine))
        retry_while_database_away(lambda: self._workers.beat(self.identity))
        retry_while_database_away(lambda: renew_older(self._client, self._sessions, self._jobs))
        dbos = DBOS(config=self._configuration())
        register(self._steps, self._delivery)
        DBOS.launch()
        DBOS.register_queue(
            STUDY_QUEUE,
            worker_concurrency=self._requests_at_once,
            on_conflict="always_update",
        )
        DBOS.register_queue(
            DELIVERY_QUEUE,
            worker_concurrency=DELIVERIES_AT_ONCE,
            on_conflict="always_update",
        )
        self._queues.start(dbos)
        self._heartbeat.beat()
        self._heartbeat.start()
        self._watch.start()
        logger.info("worker %s works", self.identity.executor_id)

    def stop(self, grace_s: int = 2) -> None:
        """Take no more work, give what runs `grace_s` seconds, leave the rest to the next worker.

        A stage that still runs keeps its thread: the process should end with os._exit.
        """
        self._queues.stop()
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=grace_s)
        self._watch.stop()
        self._heartbeat.stop()
        self._client.destroy()
        self._jobs.close()
        self._engine.dispose()

    def longest_waiting(self) -> str | None:
        """The request's workflow that has waited longest for a worker like this one;
        RecordUnavailable.
        """
        return longest_waiting(self._client, self._jobs.pipeline_version)

    def _configuration(self) -> DBOSConfig:
        return DBOSConfig(
            name=DBOS_NAME,
            system_database_url=dbos_url(self._url),
            dbos_system_schema=DBOS_SCHEMA,
            executor_id=self.identity.executor_id,
            application_version=str(self._jobs.pipeline_version),
            log_level="WARNING",
            serializer=WORKFLOW_JSON,
            # nobody waits for DBOS's own notifications, which it would send a hundred times a
            # second
            notification_coalesce_sec=3600.0,
            db_engine_kwargs={"hide_parameters": True},
        )


def announce_all(sessions: Sessions) -> None:
    """Wake every worker: work was queued that no job announced. RecordUnavailable."""
    with sessions.begin() as session:
        for queue in (STUDY_QUEUE, DELIVERY_QUEUE):
            announce_work(session, queue)
