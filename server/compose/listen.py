"""`segnode listen`: the DICOM listener, and the intake of complete studies into the record."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from threading import Event

from dicom_node.ports import ArrivalObserver
from dicom_node.receive.allowed import AllowedPeers
from dicom_node.receive.application_entity import ApplicationEntity
from dicom_node.receive.inbox import Inbox
from dicom_node.receive.limits import PeerLimits
from dicom_node.receive.listener import Listener
from dicom_node.receive.processes import ReceiverProcesses, processes_by_cores
from dicom_node.receive.study_completeness import StudyWatch
from server.compose.addresses import address
from server.compose.database import database, migrate
from server.compose.heartbeat import LISTENER_LIMIT_S, heartbeat
from server.compose.record import inbox_of, record
from server.compose.rules import rules
from server.nodes.intake import LIMIT_S, Intake
from server.nodes.lifecycle import announce_ready, end_with_parent, stop_on_signals, wait_for
from server.nodes.storage_lock import storage_of
from server.pulses import Part, Pulse
from server.record.completion import Completion
from server.settings import Settings


def run(settings: Settings) -> int:
    """Receive whether or not the database answers, and take in complete studies, until told to
    stop; the exit code.
    """
    end_with_parent()
    rules(settings)  # a route that cannot work is reported before anything is received for it
    stop = stop_on_signals()
    with storage_of(settings.storage.dir, "listen"):
        _receive(settings, stop)
    return 0


def _receive(settings: Settings, stop: Event) -> None:
    inbox, watch = inbox_of(settings), StudyWatch()
    node = settings.node
    accepting, taking_in = Pulse(Part.LISTENER, LISTENER_LIMIT_S), Pulse(Part.INTAKE, LIMIT_S)
    listener = _listener(settings, inbox, watch, accepting.beat_as_of)
    opened_urls: list[str] = []
    usable_urls: list[str] = []
    with ExitStack() as databases:

        def open_completion() -> Completion:
            if not opened_urls:
                opened_urls.append(databases.enter_context(database(settings))[0])
            migrate(opened_urls[0])
            usable_urls.append(opened_urls[0])
            return record(settings, opened_urls[0]).completion

        intake = Intake(watch, open_completion, settings.study.quiet_s, pulse=taking_in)
        with address(f"{node.host}:{node.port}", "node.port"):
            listener.start()
        intake.start()
        folder = settings.storage.dir / "inbox"
        with heartbeat(settings, [accepting, taking_in], folder, lambda: usable_urls[:1]):
            announce_ready(f"{node.ae_title} on {node.host}:{listener.port}")
            wait_for(stop)
        listener.stop()
        intake.stop()


def _listener(
    settings: Settings, inbox: Inbox, observer: ArrivalObserver, on_tick: Callable[[float], None]
) -> Listener:
    """The listener with its receivers in processes of their own."""
    edge = settings.node
    limits = PeerLimits(
        associations=edge.max_associations,
        associations_per_address=edge.associations_per_address,
        connections_per_address=edge.connections_per_address,
        request_timeout_s=edge.request_timeout_s,
        idle_timeout_s=edge.timeout_s,
        stall_timeout_s=edge.pdu_timeout_s,
    )
    entity = ApplicationEntity(
        edge.ae_title, AllowedPeers.of(edge.allow, edge.allow_addresses), limits
    )
    count = edge.processes or processes_by_cores()
    return Listener(
        entity,
        edge.host,
        edge.port,
        inbox,
        observer,
        receivers=lambda desk: ReceiverProcesses(entity, inbox, desk, count=count),
        on_tick=on_tick,
    )
