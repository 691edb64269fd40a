"""What peers can take of the listener: places, time and memory. Both paths alike."""

from __future__ import annotations

import resource
import struct
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_node.receive.limits import PeerLimits
from dicom_node.receive.listener import Listener
from tests.dicom_node.conftest import Sender
from tests.dicom_node.receive.conftest import RawPeer, Wire

CT, VERIFICATION = b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.1.1"
ACCEPT, ABORT, CLOSED = 2, 7, 0
C_STORE, C_ECHO = 0x0001, 0x0030


@pytest.fixture
def stores(
    sending: Callable[..., AbstractContextManager[Sender]],
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
) -> Callable[[int], bool]:
    """Whether a sound peer can store."""

    def run(port: int) -> bool:
        data = as_sent(dataset := ct())
        with sending(port) as sender:
            if not sender.association.is_established:
                return False
            return bool(sender.store(data, dataset.SOPInstanceUID).Status == 0x0000)

    return run


def test_a_request_that_trickles_is_cut_off_at_its_deadline(
    listening: Callable[..., Listener], raw: Callable[[int], RawPeer], wire: type[Wire]
) -> None:
    peer = raw(listening(limits=PeerLimits(request_timeout_s=0.5)).port)
    begun = time.monotonic()

    with pytest.raises(OSError):  # noqa: PT012 - any of the bytes may be the first that nobody takes
        for byte in wire.request((1, CT)):
            peer.send(bytes([byte]))
            time.sleep(0.05)  # each is well within any time between two bytes

    assert time.monotonic() - begun < 5.0


def test_a_pdu_that_trickles_is_cut_off_at_its_deadline(
    listening: Callable[..., Listener],
    raw: Callable[[int], RawPeer],
    wire: type[Wire],
    eventually: Callable[..., None],
) -> None:
    listener = listening(limits=PeerLimits(stall_timeout_s=0.5))
    peer = raw(listener.port)
    peer.associate((1, CT))
    stop = threading.Event()

    def trickle() -> None:
        peer.send(
            b"\4\0" + struct.pack(">LLBB", 10_000, 9_996, 1, 1)
        )  # a command set of so many bytes
        while not stop.wait(0.05):
            try:
                peer.send(b"\0")
            except OSError:
                return

    thread = threading.Thread(target=trickle)
    thread.start()
    eventually(lambda: listener.open_associations == 0, 5.0)
    stop.set()
    thread.join()


def test_echo_alone_keeps_no_association_open(
    listening: Callable[..., Listener],
    raw: Callable[[int], RawPeer],
    wire: type[Wire],
    eventually: Callable[..., None],
) -> None:
    listener = listening(limits=PeerLimits(idle_timeout_s=0.6))
    peer = raw(listener.port)
    peer.associate((1, VERIFICATION))
    answers: list[Any] = []

    while len(answers) < 100 and (not answers or answers[-1] == 0x0000):
        try:
            peer.send(wire.p_data((1, 3, wire.command(C_ECHO, sop_class=VERIFICATION))))
            answers.append(peer.status())
        except OSError:
            break
        time.sleep(0.1)

    assert answers[0] == 0x0000
    assert len(answers) < 50
    eventually(lambda: listener.open_associations == 0)


def test_data_in_drops_keeps_no_association_open(
    listening: Callable[..., Listener],
    raw: Callable[[int], RawPeer],
    wire: type[Wire],
    eventually: Callable[..., None],
) -> None:
    listener = listening(limits=PeerLimits(idle_timeout_s=0.6))
    peer = raw(listener.port)
    peer.associate((1, CT))
    peer.send(wire.p_data((1, 3, wire.command(C_STORE, dataset=True, instance=b"1.2.3"))))
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.1):
            try:
                peer.send(wire.p_data((1, 0, b"drop")))
            except OSError:
                return

    thread = threading.Thread(target=drip)
    thread.start()
    eventually(lambda: listener.open_associations == 0, 10.0)
    stop.set()
    thread.join()


def test_peers_that_only_echo_do_not_keep_a_sender_out(
    listening: Callable[..., Listener],
    raw: Callable[[int], RawPeer],
    wire: type[Wire],
    stores: Callable[[int], bool],
) -> None:
    listener = listening(limits=PeerLimits(associations=3))
    peers = [raw(listener.port) for _ in range(3)]
    for peer in peers:
        assert peer.associate((1, VERIFICATION)) == ACCEPT
        peer.send(wire.p_data((1, 3, wire.command(C_ECHO, sop_class=VERIFICATION))))
        assert peer.status() == 0x0000

    assert stores(listener.port)
    assert peers[0].read()[0] == ABORT


def test_connections_of_a_byte_each_do_not_keep_a_sender_out(
    listening: Callable[..., Listener], raw: Callable[[int], RawPeer], stores: Callable[[int], bool]
) -> None:
    listener = listening(limits=PeerLimits(associations=5, connections_per_address=10))

    with ExitStack() as connections:
        for _ in range(40):
            peer = raw(listener.port)
            connections.callback(peer.socket.close)
            peer.send(b"\1")
        assert stores(listener.port)


def test_what_a_header_promises_takes_no_memory(
    listening: Callable[..., Listener], raw: Callable[[int], RawPeer], wire: type[Wire]
) -> None:
    port = listening().port
    peers = [raw(port) for _ in range(3)]
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    for kind, peer in zip((1, 1, 4), peers, strict=True):
        if kind == 4:
            assert peer.associate((1, CT)) == ACCEPT
        peer.send(bytes([kind, 0]) + struct.pack(">L", 200_000_000))
    ends = [peer.read()[0] for peer in peers]

    assert ends == [ABORT] * 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 20 * 1024


def test_an_endless_command_set_is_aborted(
    listening: Callable[..., Listener], raw: Callable[[int], RawPeer], wire: type[Wire]
) -> None:
    peer = raw(listening().port)
    peer.associate((1, CT))

    with pytest.raises(OSError):  # noqa: PT012 - any of them may be the first that nobody takes
        for _ in range(1000):
            peer.send(wire.p_data((1, 1, bytes(10_000))))
            time.sleep(0.001)


def test_the_log_shows_what_peers_call_themselves_on_one_line(
    listening: Callable[..., Listener],
    raw: Callable[[int], RawPeer],
    caplog: pytest.LogCaptureFixture,
) -> None:
    peer = raw(listening().port)

    assert peer.associate((1, CT), calling=b"A\n2026 INFO B") != ACCEPT
    assert "rejected" in caplog.text
    assert [record for record in caplog.records if "\n" in record.getMessage()] == []
