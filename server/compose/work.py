"""`segnode work`: a worker with the pipeline of a node."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from dicom_node.results.writers import writers_of
from dicom_node.values import SourceVolume
from server.compose.choice import choice, limits, model_pool, second_segmenter
from server.compose.database import database
from server.compose.destinations import destinations, kinds_wanted
from server.compose.heartbeat import BUSY_LIMIT_S, WORKER_LIMIT_S, heartbeat
from server.compose.record import stored_studies
from server.compose.rules import model_selector
from server.compose.soundness.configuration import require_sound
from server.compose.soundness.reach import warn_of_the_unreached
from server.files import private_folder
from server.nodes.lifecycle import (
    announce_ready,
    end_with_parent,
    has_parent,
    stop_on_signals,
    wait_for,
)
from server.pipeline import OnProgress, Pipeline, ignore_progress, read_series
from server.ports import LoadedModels
from server.pulses import Part, Pulse
from server.record.database.engine import Sessions, open_engine
from server.rules.catalogue import load_catalogue
from server.settings import Settings
from server.study.workfolder import EncodingStore
from server.values import Assignment
from server.work.deadlines import StageLimits
from server.work.delivery import RetryPolicy
from server.work.movement import Movement, WatchedStages
from server.work.progress import ProgressNotes
from server.work.retention import TurnMaskRetention
from server.work.worker import Worker


def run(settings: Settings) -> int:
    """Load the models and work on requests until told to stop; ends the process with code 0."""
    end_with_parent()
    if not has_parent():  # a supervisor has looked
        require_sound(settings)
    stop = stop_on_signals()
    delivery, at_once = settings.delivery, settings.agent.requests_at_once
    working = Pulse(Part.WORKER, WORKER_LIMIT_S)
    receivers = destinations(settings)
    with database(settings) as (url, _):
        sessions = Sessions(open_engine(url, pool_size=1))
        progress = ProgressNotes(sessions)
        movement = Movement(working, lambda: worker.longest_waiting(), at_once, BUSY_LIMIT_S)
        worker = Worker(
            url,
            WatchedStages(node_pipeline(settings, progress.tell), movement),
            {destination.name: destination for destination in receivers},
            RetryPolicy(delivery.attempts, delivery.delay_s, delivery.maximum_delay_s),
            requests_at_once=at_once,
            limits=StageLimits(**settings.stages.model_dump()),
            storage=settings.storage.dir,
        )
        worker.start()
        warn_of_the_unreached(receivers)
        folder = private_folder(settings.storage.dir / "work")
        progress.start()
        retention = TurnMaskRetention(sessions, folder, settings.storage.turns_days)
        retention.start()
        with heartbeat(settings, [working], folder, lambda: [url], [movement.look]):
            announce_ready(str(choice(settings)))
            wait_for(stop)
        retention.stop()
        progress.stop()
        worker.stop()
    # a stage that still runs keeps a thread; it is taken up again from the record
    logging.shutdown()
    os._exit(0)


def node_pipeline(settings: Settings, on_progress: OnProgress = ignore_progress) -> Pipeline:
    """The pipeline of a worker: studies from the inbox, work folders and encodings under
    storage.dir.
    """
    studies = stored_studies(settings)

    def load(assignment: Assignment) -> SourceVolume:
        headers = list(studies.headers(assignment.study_instance_uid))
        return read_series(headers, assignment.series_instance_uid)

    work_folder = private_folder(settings.storage.dir / "work")
    return pipeline(settings, load, lambda request_id: work_folder / request_id, on_progress)


def pipeline(
    settings: Settings,
    load: Callable[[Assignment], SourceVolume],
    folder: Callable[[str], Path],
    on_progress: OnProgress = ignore_progress,
) -> Pipeline:
    """The stages on the configured models; `load`, `folder` and `on_progress` as in Pipeline."""
    store = EncodingStore(settings.storage.dir / "encodings", settings.storage.encodings_bytes)
    pool, select_pair = model_pool(settings), model_selector(settings)

    def models_of(assignment: Assignment) -> LoadedModels:
        return pool.bench(assignment.pair or select_pair(None, None))

    return Pipeline(
        load=load,
        folder=folder,
        encodings=store,
        workbench=models_of,
        catalogue=load_catalogue(),
        limits=limits(settings),
        writers=writers_of(kinds_wanted(settings)),
        second=second_segmenter(settings),
        at_once=settings.agent.requests_at_once,
        on_progress=on_progress,
    )
