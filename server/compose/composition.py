"""The composition root: the one place that knows the concrete classes.

One function per kind of process; each imports its rooms inside, so that `segnode listen` never
loads torch and `segnode serve` neither torch nor the DICOM edge. `<storage.dir>` holds inbox/ (as
received), work/ (one folder a request), encodings/ (by series), cache/ (compiled models), postgres/
and token, each private by its own mode: storage.dir itself must let the embedded PostgreSQL's own
user through where the node runs as root.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from server.compose.heartbeat import (
    BUSY_LIMIT_S,
    LISTENER_LIMIT_S,
    WORKER_LIMIT_S,
    heartbeat,
    part_table,
)
from server.compose.weights import benches, choice, dump, fetch, offer, resources, workbench
from server.errors import ConfigurationError
from server.files import private_folder
from server.nodes.lifecycle import announce_ready, end_with_parent, stop_on_signals, wait_for
from server.nodes.storage_lock import storage_of
from server.rules.catalogue import load_catalogue
from server.settings import Settings

if TYPE_CHECKING:
    from agent.limits import Limits
    from agent.turns import Turn
    from dicom_node.ports import ArrivalObserver, Destination
    from dicom_node.receive.inbox import Inbox
    from dicom_node.receive.listener import Listener
    from dicom_node.values import SourceVolume
    from server.http.connections import ConnectionLimits
    from server.interactive.service import Service as SegmentationService
    from server.pipeline import Pipeline
    from server.ports import LoadedModels
    from server.record.record import Record
    from server.record.stored_studies import StoredStudyReader
    from server.rules.routing import Rules
    from server.values import Assignment, TargetSummary

__all__ = [
    "api",
    "choice",
    "database_version",
    "destinations",
    "dump",
    "fetch",
    "listen",
    "resources",
    "rules",
    "segment",
    "serve",
    "sessions",
    "work",
]

logger = logging.getLogger(__name__)


def serve(settings: Settings, config_files: Sequence[Path]) -> int:
    """`segnode serve`: the supervisor, until it is told to stop."""
    from server.nodes.gpus import gpus_for_workers
    from server.nodes.supervisor import DATABASE_VARIABLE, Supervisor, node_children

    stop = stop_on_signals()
    with storage_of(settings.storage.dir, "serve"), database(settings) as (url, keep_up):
        supervisor = Supervisor(
            node_children(
                [str(file) for file in config_files],
                gpus_for_workers(settings.models.device, os.environ),
            ),
            # a site's own URL holds a password, and others may look into a process's environment
            environment=os.environ
            | ({DATABASE_VARIABLE: url} if settings.database.embedded else {}),
            on_ready=lambda said: logger.info("segnode is ready: %s", "; ".join(said)),
            keep_up=keep_up,
        )
        return supervisor.run(stop)


def listen(settings: Settings) -> None:
    """`segnode listen`: receives whether or not the database answers, and takes in what is
    complete.
    """
    end_with_parent()
    rules(settings)  # a route that cannot work is told before anything is received for it
    stop = stop_on_signals()
    with storage_of(settings.storage.dir, "listen"):
        _receive(settings, stop)


def _receive(settings: Settings, stop: Event) -> None:
    from contextlib import ExitStack

    from dicom_node.receive.study_completeness import StudyWatch
    from server.nodes.intake import LIMIT_S, Intake
    from server.pulses import Part, Pulse
    from server.record.completion import Completion

    inbox, watch = _inbox(settings), StudyWatch()
    node = settings.node
    accepting, taking_in = Pulse(Part.LISTENER, LISTENER_LIMIT_S), Pulse(Part.INTAKE, LIMIT_S)
    listener = _listener(settings, inbox, watch, accepting.beat_as_of)
    opened: list[str] = []
    usable: list[str] = []
    with ExitStack() as held:

        def open_completion() -> Completion:
            if not opened:
                opened.append(held.enter_context(database(settings))[0])
            migrate(opened[0])
            usable.append(opened[0])
            return record(settings, opened[0]).completion

        intake = Intake(watch, open_completion, settings.study.quiet_s, pulse=taking_in)
        with address(f"{node.host}:{node.port}", "node.port"):
            listener.start()
        intake.start()
        folder = settings.storage.dir / "inbox"
        with heartbeat(settings, [accepting, taking_in], folder, lambda: usable[:1]):
            announce_ready(f"{node.ae_title} on {node.host}:{listener.port}")
            wait_for(stop)
        listener.stop()
        intake.stop()


def _listener(
    settings: Settings, inbox: Inbox, observer: ArrivalObserver, on_tick: Callable[[float], None]
) -> Listener:
    """The listener with its receivers in processes of their own."""
    from dicom_node.receive.allowed import AllowedPeers
    from dicom_node.receive.application_entity import ApplicationEntity
    from dicom_node.receive.limits import PeerLimits
    from dicom_node.receive.listener import Listener
    from dicom_node.receive.processes import ReceiverProcesses, processes_by_cores

    wanted = settings.node
    limits = PeerLimits(
        associations=wanted.max_associations,
        associations_per_address=wanted.associations_per_address,
        connections_per_address=wanted.connections_per_address,
        request_timeout_s=wanted.request_timeout_s,
        idle_timeout_s=wanted.timeout_s,
        stall_timeout_s=wanted.pdu_timeout_s,
    )
    node = ApplicationEntity(
        wanted.ae_title, AllowedPeers.of(wanted.allow, wanted.allow_addresses), limits
    )
    count = wanted.processes or processes_by_cores()
    return Listener(
        node,
        wanted.host,
        wanted.port,
        inbox,
        observer,
        receivers=lambda desk: ReceiverProcesses(node, inbox, desk, count=count),
        on_tick=on_tick,
    )


def work(settings: Settings) -> None:
    """`segnode work`: loads the models and works on requests until it is told to stop."""
    from server.pulses import Part, Pulse
    from server.work.deadlines import StageLimits
    from server.work.delivery import RetryPolicy
    from server.work.movement import Movement, WatchedStages
    from server.work.worker import Worker

    end_with_parent()
    stop = stop_on_signals()
    delivery, at_once = settings.delivery, settings.agent.requests_at_once
    working = Pulse(Part.WORKER, WORKER_LIMIT_S)
    with database(settings) as (url, _):
        movement = Movement(working, lambda: worker.longest_waiting(), at_once, BUSY_LIMIT_S)
        worker = Worker(
            url,
            WatchedStages(node_pipeline(settings), movement),
            {one.name: one for one in destinations(settings)},
            RetryPolicy(delivery.attempts, delivery.delay_s, delivery.maximum_delay_s),
            requests_at_once=at_once,
            limits=StageLimits(**settings.stages.model_dump()),
            storage=settings.storage.dir,
        )
        worker.start()
        folder = private_folder(settings.storage.dir / "work")
        with heartbeat(settings, [working], folder, lambda: [url], [movement.look]):
            announce_ready(str(choice(settings)))
            wait_for(stop)
        worker.stop()
    # a stage that still runs keeps a thread; it is taken up again from the record
    logging.shutdown()
    os._exit(0)


def api(settings: Settings) -> None:
    """`segnode api`: answers HTTP until it is told to stop."""
    from server.http.app import create_app
    from server.http.ports import ConfiguredDestination, Services
    from server.http.serving import serve as serve_http
    from server.http.tokens import load_tokens
    from server.record.counting import RecordCounting
    from server.record.database.engine import Sessions, open_engine
    from server.work.database_retry import retry_while_database_away

    end_with_parent()
    tokens = load_tokens(settings.http.tokens_file, settings.storage.dir)
    with database(settings) as (url, _):
        retry_while_database_away(lambda: migrate(url))
        counted = Sessions(open_engine(url, pool_size=2))
        services = Services(
            record=record(settings, url),
            counting=RecordCounting(counted, part_table(counted)),
            destinations=tuple(
                ConfiguredDestination(one, reachable)
                for one, reachable in zip(
                    settings.destinations, destinations(settings), strict=True
                )
            ),
            storage=settings.storage.dir,
            minimum_free_bytes=settings.storage.minimum_free_bytes,
        )
        host, port = settings.http.host, settings.http.port
        app = create_app(services, tokens)
        with (
            address(f"{host}:{port}", "http.port"),
            heartbeat(settings, [], settings.storage.dir, lambda: [url]),
        ):
            serve_http(
                app,
                host,
                port,
                lambda: announce_ready(f"http://{host}:{port}"),
                connection_limits(settings),
            )


def sessions(settings: Settings) -> None:
    """`segnode sessions`: the segmentation API with models of its own, until it is told to stop."""
    from server.http.serving import serve as serve_http
    from server.http.tokens import load_tokens
    from server.interactive.app import create_app

    end_with_parent()
    tokens = load_tokens(settings.http.tokens_file, settings.storage.dir)
    service = segmentation_service(settings)
    service.drawers.get()  # the default one is loaded before anybody is told that this is ready
    host, port = settings.sessions.host, settings.sessions.port
    said = f"http://{host}:{port} with {', '.join(service.drawers.names)}"
    with address(f"{host}:{port}", "sessions.port"):
        app = create_app(service, tokens)
        serve_http(app, host, port, lambda: announce_ready(said), connection_limits(settings))


def connection_limits(settings: Settings) -> ConnectionLimits:
    """What a peer may take of an HTTP server."""
    from server.http.connections import ConnectionLimits

    http = settings.http
    return ConnectionLimits(http.max_connections, http.max_connections_per_address, http.timeout_s)


def segmentation_service(settings: Settings) -> SegmentationService:
    """What the segmentation API does, on the segmenters that the site offers; none is loaded yet.
    UnknownModel.
    """
    import time
    from dataclasses import replace

    from models.registry import segmenter_entry
    from models.serving.opening import open_served
    from server.interactive.bounds import Bounds
    from server.interactive.drawing import SegmenterService
    from server.interactive.encodings import Encodings
    from server.interactive.memory import MemoryAccount
    from server.interactive.service import open_service

    wanted, own = settings.sessions, choice(settings).segmenter
    names = wanted.segmenters or (own,)
    for name in names:
        segmenter_entry(name)  # a wrong name is told at the start, not when somebody asks for it
    bounds = Bounds(
        max_sessions=wanted.max_sessions,
        idle_s=wanted.idle_s,
        max_image_pixels=wanted.max_image_pixels,
        memory_bytes=wanted.memory_bytes,
        working_bytes=wanted.working_bytes,
    )

    def open_drawer(name: str, encodings: Encodings, account: MemoryAccount) -> SegmenterService:
        may_use = resources(settings)
        if name != own:  # agent.checkpoint is the other one's
            may_use = replace(may_use, checkpoint=None)
        return SegmenterService(
            open_served(name, may_use), encodings, account, bounds.max_image_pixels
        )

    return open_service(bounds, names, open_drawer, time.monotonic)


@contextmanager
def database(settings: Settings) -> Iterator[tuple[str, Callable[[], None]]]:
    """The record's URL while the block runs, and what to call now and then to keep an embedded
    server up.
    """
    from server.nodes.postgres import EmbeddedPostgres
    from server.record.database.roles import application_url

    if not settings.database.embedded:
        yield settings.database.url.get_secret_value(), lambda: None
        return
    embedded = EmbeddedPostgres(settings.storage.dir)
    url = embedded.start()
    try:
        yield application_url(url), embedded.keep_up
    finally:
        embedded.stop()


@contextmanager
def address(wanted: str, key: str) -> Iterator[None]:
    """Say which setting to change when `wanted` ("host:port") is not to be had;
    ConfigurationError.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise
        raise ConfigurationError(f"{key}: cannot listen on {wanted} ({error.strerror})") from error


def migrate(url: str) -> None:
    """Bring the tables at `url` up to date; RecordUnavailable."""
    from server.record.database.engine import open_engine
    from server.record.database.migrate import upgrade

    engine = open_engine(url)
    try:
        upgrade(engine)
    finally:
        engine.dispose()


def record(settings: Settings, url: str) -> Record:
    """The record in the database at `url`."""
    from server.record.database.engine import Sessions, open_engine
    from server.record.database.jobs import DbosJobs
    from server.record.record import Record

    return Record(Sessions(open_engine(url)), DbosJobs(url), rules(settings), _shelf(settings))


def rules(settings: Settings) -> Rules:
    """What the site has configured about requests; ConfigurationError for a route that cannot
    work.
    """
    from server.rules.routing import Rules

    names = tuple(one.name for one in settings.destinations)
    return Rules(
        load_catalogue(), names, settings.routes, settings.agent.max_targets, offer(settings)
    )


def destinations(settings: Settings) -> tuple[Destination, ...]:
    """The configured destinations, in their order."""
    from dicom_node.send.sender import DeliveryTimeouts, DicomDestination

    timeout_s = settings.delivery.timeout_s
    timeouts = DeliveryTimeouts(dimse_s=timeout_s, network_s=timeout_s)
    return tuple(
        DicomDestination(
            one.name,
            one.ae_title,
            one.host,
            one.port,
            calling_ae_title=settings.node.ae_title,
            timeouts=timeouts,
        )
        for one in settings.destinations
    )


def segment(
    settings: Settings,
    path: Path,
    targets: Sequence[str],
    out: Path,
    progress: Callable[[str], None],
) -> Sequence[TargetSummary]:
    """`segnode segment`: files in, files out; `progress` is told in words."""
    from server.local import LocalModels, LocalRun, asked_targets, segment_files

    catalogue = load_catalogue()
    run = LocalRun(path, asked_targets(targets, catalogue), out)
    models = LocalModels(workbench(settings), catalogue, limits(settings))

    def tell(index: int, turn: Turn) -> None:
        progress(f"{run.targets[index].text}, {turn.place}, {turn.role}")

    return segment_files(run, models, tell)


def database_version(settings: Settings) -> str:
    """What database answers at database.url, in words; RecordUnavailable, ConfigurationError.
    Starts none.
    """
    from server.nodes.postgres import EmbeddedPostgres
    from server.record.database.engine import answering, open_engine

    url: str | None = settings.database.url.get_secret_value()
    if settings.database.embedded:
        url = EmbeddedPostgres(settings.storage.dir).running_url()
    if url is None:
        return "embedded PostgreSQL, not running now: it starts with the node"
    with answering():
        engine = open_engine(url)
        try:
            with engine.connect() as connection:
                found = ".".join(str(part) for part in connection.dialect.server_version_info or ())
        finally:
            engine.dispose()
    return f"PostgreSQL {found}, {'embedded' if settings.database.embedded else 'as configured'}"


def node_pipeline(settings: Settings) -> Pipeline:
    """The pipeline of a worker: studies from the inbox, work folders and encodings under
    storage.dir.
    """
    from server.pipeline import read_series

    shelf = _shelf(settings)

    def load(assignment: Assignment) -> SourceVolume:
        headers = list(shelf.headers(assignment.study_instance_uid))
        return read_series(headers, assignment.series_instance_uid)

    work_folder = private_folder(settings.storage.dir / "work")
    return pipeline(settings, load, lambda request_id: work_folder / request_id)


def pipeline(
    settings: Settings,
    load: Callable[[Assignment], SourceVolume],
    folder: Callable[[str], Path],
) -> Pipeline:
    """The stages on the configured models; `load` and `folder` as in Pipeline."""
    from server.pipeline import Pipeline
    from server.study.workfolder import EncodingStore

    store = EncodingStore(settings.storage.dir / "encodings", settings.storage.encodings_bytes)
    opened, pair = benches(settings), offer(settings)

    def bench_of(assignment: Assignment) -> LoadedModels:
        return opened.bench(assignment.pair or pair(None, None))

    return Pipeline(
        load=load,
        folder=folder,
        encodings=store,
        workbench=bench_of,
        catalogue=load_catalogue(),
        limits=limits(settings),
        at_once=settings.agent.requests_at_once,
    )


def limits(settings: Settings) -> Limits:
    """The agent's budgets."""
    from agent.limits import Limits

    return Limits(max_turns=settings.agent.max_turns)


def _shelf(settings: Settings) -> StoredStudyReader:
    """What is stored, its headers read in a process that may die of them."""
    from server.nodes.header_process import HeaderProcess
    from server.record.stored_studies import StoredStudyReader

    return StoredStudyReader(_inbox(settings), HeaderProcess().read_header)


def _inbox(settings: Settings) -> Inbox:
    from dicom_node.receive.inbox import Inbox

    return Inbox(settings.storage.dir / "inbox", settings.storage.minimum_free_bytes)
