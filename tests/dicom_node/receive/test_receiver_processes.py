"""Receivers in processes of their own: one port, one count of places, and one that dies takes
nothing else with it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydicom.dataset import Dataset

from dicom_node.fakes import RecordingObserver
from dicom_node.receive import processes
from dicom_node.receive.allowed import AllowedPeers
from dicom_node.receive.application_entity import ApplicationEntity
from dicom_node.receive.inbox import Inbox
from dicom_node.receive.limits import PeerLimits
from dicom_node.receive.listener import Listener
from dicom_node.receive.processes import ReceiverProcesses
from tests.dicom_node.conftest import Sender
from tests.dicom_node.receive.conftest import RawPeer, Wire


class Several:
    """A listener whose receivers are processes."""

    def __init__(self, inbox: Inbox, observer: RecordingObserver, node: ApplicationEntity) -> None:
        self.receivers: ReceiverProcesses

        def make(registry: Any) -> ReceiverProcesses:
            self.receivers = ReceiverProcesses(node, inbox, registry, count=2)
            return self.receivers

        self.listener = Listener(node, "127.0.0.1", 0, inbox, observer, receivers=make)


@pytest.fixture
def several(inbox: Inbox, observer: RecordingObserver) -> Iterator[Callable[..., Several]]:
    """Starts such a listener, and stops it after the test."""
    with ExitStack() as started:

        def start(**options: Any) -> Several:
            made = Several(inbox, observer, ApplicationEntity("SEGNODE", **options))
            started.enter_context(made.listener)
            return made

        yield start


def test_instances_arrive_through_both_and_the_observer_hears_of_all(
    several: Callable[..., Several],
    sending: Callable[..., AbstractContextManager[Sender]],
    inbox: Inbox,
    observer: RecordingObserver,
    eventually: Callable[..., None],
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
) -> None:
    started = several()
    study, port = ct().StudyInstanceUID, started.listener.port
    datasets = [ct(StudyInstanceUID=study) for _ in range(6)]

    with sending(port) as one, sending(port) as two:
        for number, dataset in enumerate(datasets):
            sender = (one, two)[number % 2]
            assert sender.store(as_sent(dataset), dataset.SOPInstanceUID).Status == 0x0000
    eventually(lambda: len(observer.closed) == 2)

    assert len(started.receivers.process_ids()) == 2
    assert len(inbox.instances(study)) == 6
    assert {a.instance.path for _, a in observer.arrivals} == {
        i.path for i in inbox.instances(study)
    }
    assert {a.calling_address for _, a in observer.arrivals} == {"127.0.0.1"}
    assert sorted(observer.opened) == sorted(observer.closed)
    assert {name for name, _ in observer.arrivals} == set(observer.opened)


def test_one_receiver_that_stands_still_shows_though_the_listener_accepts(
    several: Callable[..., Several], eventually: Callable[..., None]
) -> None:
    started = several()
    began_s = time.monotonic()
    eventually(lambda: started.receivers.moved_s() > began_s)
    stopped = psutil.Process(started.receivers.process_ids()[1])

    stopped.suspend()
    before_s = time.monotonic()
    with socket.create_connection(("127.0.0.1", started.listener.port)):
        time.sleep(2.0)  # what was on its way arrives; then nothing more does
    after_s = started.receivers.moved_s()
    stopped.resume()

    assert after_s <= before_s + 0.5
    eventually(lambda: started.receivers.moved_s() > before_s + 1.0)


def test_the_listener_says_how_those_who_serve_move(
    inbox: Inbox, observer: RecordingObserver, eventually: Callable[..., None]
) -> None:
    moments: list[float] = []
    node = ApplicationEntity("SEGNODE")

    with Listener(node, "127.0.0.1", 0, inbox, observer, on_tick=moments.append):
        began_s = time.monotonic()
        eventually(lambda: bool(moments) and moments[-1] > began_s)

    assert moments == sorted(moments)


def test_a_receiver_that_dies_costs_its_associations_and_is_started_again(
    tmp_path: Path,
    several: Callable[..., Several],
    sending: Callable[..., AbstractContextManager[Sender]],
    observer: RecordingObserver,
    eventually: Callable[..., None],
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
) -> None:
    started = several()
    port = started.listener.port
    first, second = started.receivers.process_ids()

    with sending(port) as one, sending(port) as two:
        for sender in (one, two):
            dataset = ct()
            assert sender.store(as_sent(dataset), dataset.SOPInstanceUID).Status == 0x0000
        (tmp_path / "inbox" / ".incoming" / f"{first}-x-0").write_bytes(b"half")
        (tmp_path / "inbox" / ".incoming" / f"{second}-x-0").write_bytes(b"being written")
        os.kill(first, signal.SIGKILL)
        eventually(lambda: len(observer.closed) == 1)
        survivors = [s for s in (one, two) if s.association.is_established]
        eventually(lambda: sum(s.association.is_established for s in (one, two)) == 1)
        survivors = [s for s in (one, two) if s.association.is_established]
        dataset = ct()
        assert survivors[0].store(as_sent(dataset), dataset.SOPInstanceUID).Status == 0x0000
        eventually(lambda: len(started.receivers.process_ids()) == 2)

    with sending(port) as sender:
        dataset = ct()
        assert sender.store(as_sent(dataset), dataset.SOPInstanceUID).Status == 0x0000
    assert first not in started.receivers.process_ids()
    assert second in started.receivers.process_ids()
    left = [path.name for path in (tmp_path / "inbox" / ".incoming").iterdir()]
    assert left == [f"{second}-x-0"]


def test_a_receiver_that_stands_still_is_replaced(
    several: Callable[..., Several],
    raw: Callable[[int], RawPeer],
    observer: RecordingObserver,
    eventually: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "_STILL_S", 0.5)
    started = several()
    still, _ = started.receivers.process_ids()
    os.kill(still, signal.SIGSTOP)
    eventually(lambda: still not in started.receivers.process_ids())
    eventually(lambda: len(started.receivers.process_ids()) == 2)

    assert raw(started.listener.port).associate((1, b"1.2.840.10008.1.1")) == 2


def test_places_are_counted_over_all_of_them(
    several: Callable[..., Several], sending: Callable[..., AbstractContextManager[Sender]]
) -> None:
    port = several(limits=PeerLimits(associations=3)).listener.port

    with ExitStack() as open_ones:
        senders = [open_ones.enter_context(sending(port)) for _ in range(4)]
        established = [sender.association.is_established for sender in senders]

    assert established == [True, True, True, False]


def test_who_may_connect_is_theirs_to_know(
    several: Callable[..., Several], sending: Callable[..., AbstractContextManager[Sender]]
) -> None:
    allowed = AllowedPeers.of(["SCANNER"], ["127.0.0.0/8", "::1"])
    port = several(allowed=allowed).listener.port

    with sending(port, calling="SCANNER") as scanner, sending(port, calling="OTHER") as other:
        assert scanner.association.is_established
        assert not other.association.is_established


def test_a_peer_that_only_echoed_makes_room_in_another_process(
    several: Callable[..., Several],
    raw: Callable[[int], RawPeer],
    wire: type[Wire],
    sending: Callable[..., AbstractContextManager[Sender]],
) -> None:
    port = several(limits=PeerLimits(associations=2)).listener.port
    verification = b"1.2.840.10008.1.1"
    peers = [raw(port) for _ in range(2)]
    for peer in peers:
        peer.associate((1, verification))
        peer.send(wire.p_data((1, 3, wire.command(0x0030, sop_class=verification))))
        assert peer.status() == 0x0000

    with sending(port) as sender:
        established = sender.association.is_established

    assert established
    assert peers[0].read()[0] == 7


def test_stopping_aborts_what_is_open_and_leaves_no_process(
    several: Callable[..., Several],
    sending: Callable[..., AbstractContextManager[Sender]],
    observer: RecordingObserver,
    eventually: Callable[..., None],
) -> None:
    started = several()
    receivers = [psutil.Process(number) for number in started.receivers.process_ids()]

    with sending(started.listener.port) as sender:
        started.listener.stop()
        eventually(lambda: sender.association.is_aborted)

    assert observer.closed == observer.opened != []
    assert [process for process in receivers if process.is_running()] == []


LISTEN = """
import sys
from pathlib import Path
from dicom_node.fakes import RecordingObserver
from dicom_node.receive.inbox import Inbox
from dicom_node.receive.listener import Listener
from dicom_node.receive.processes import ReceiverProcesses
from dicom_node.receive.application_entity import ApplicationEntity
inbox, node = Inbox(Path(sys.argv[1])), ApplicationEntity("SEGNODE")
made = []
def make(registry):
    made.append(ReceiverProcesses(node, inbox, registry, count=2))
    return made[0]
with Listener(node, "127.0.0.1", 0, inbox, RecordingObserver(), receivers=make):
    sys.stdout.write(" ".join(map(str, made[0].process_ids())) + "\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""


def test_receivers_are_small_and_end_with_their_listener(
    tmp_path: Path, repository: Path, eventually: Callable[..., None]
) -> None:
    listener = subprocess.Popen(
        [sys.executable, "-c", LISTEN, str(tmp_path / "inbox")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=repository,
    )
    assert listener.stdout is not None
    receivers = [psutil.Process(int(number)) for number in listener.stdout.readline().split()]
    resident_mb = [receiver.memory_info().rss / 1e6 for receiver in receivers]

    listener.kill()
    listener.communicate()

    assert len(resident_mb) == 2
    assert max(resident_mb) < 40
    eventually(lambda: not any(receiver.is_running() for receiver in receivers))


def test_a_receiver_stays_small_when_a_peer_wants_more_than_storage(
    several: Callable[..., Several],
    sending: Callable[..., AbstractContextManager[Sender]],
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
) -> None:
    started = several()
    ct_image, find = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.2.2.1"
    dataset = ct(PixelData=bytes(4 << 20))

    with sending(started.listener.port, ct_image, find) as sender:
        response = sender.store(as_sent(dataset), dataset.SOPInstanceUID)
        receivers = map(psutil.Process, started.receivers.process_ids())
        resident_mb = [receiver.memory_info().rss / 1e6 for receiver in receivers]

    assert response.Status == 0x0000
    assert max(resident_mb) > 40  # pynetdicom is there
    assert max(resident_mb) < 100
