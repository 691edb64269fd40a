"""An association that stores, over a pair of sockets: what is answered, and how each one ends."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_node.arrivals import Arrival
from dicom_node.receive.errors import (
    AssociationEnded,
    PeerLost,
    PeerReleased,
    PeerSilent,
    ProtocolError,
)
from dicom_node.receive.inbox import Inbox
from dicom_node.receive.limits import PeerLimits
from dicom_node.receive.upper_layer import pdu
from dicom_node.receive.upper_layer.association import Requestor, StoreHandler, StoringAssociation
from dicom_node.receive.upper_layer.wire import Wire as Connection
from tests.dicom_node.receive.conftest import CT, EXPLICIT, Wire

STORE, ECHO, FIND = 0x0001, 0x0030, 0x0020
COMMAND, LAST = 1, 2
WHOLE = COMMAND | LAST


@dataclass
class Peer:
    """A peer that has said everything in advance; `serve` reads it to its end."""

    root: Path
    limits: PeerLimits = field(default_factory=PeerLimits)
    arrivals: list[Arrival] = field(default_factory=list)
    uses: list[bool] = field(default_factory=list)
    answers: bytes = b""

    def serve(self, *pdus: bytes, hang_up: bool = True) -> AssociationEnded:
        """How the association of context 1 (CT, explicit VR) ends."""
        near, far = _connected()
        store = StoreHandler(
            Inbox(self.root), Requestor("PEER", "SEGNODE", "192.0.2.1"), self.arrivals.append
        )
        contexts = {1: pdu.AnsweredContext(1, CT.decode(), EXPLICIT.decode(), 0)}
        association = StoringAssociation(
            Connection(near, send_timeout_s=5, tick_s=0.05),
            contexts,
            16384,
            self.limits,
            store,
            on_use=self._used,
        )
        with near, far:
            far.sendall(b"".join(pdus))
            if hang_up:
                far.shutdown(socket.SHUT_WR)
            with pytest.raises(AssociationEnded) as ended:
                association.serve()
            near.shutdown(socket.SHUT_WR)
            while more := far.recv(1 << 16):
                self.answers += more
        return ended.value

    def _used(self, *, to_store: bool) -> None:
        self.uses.append(to_store)

    def statuses(self) -> list[int]:
        """The statuses of the answers, in order."""
        values = []
        rest = self.answers
        while rest:
            (length,) = struct.unpack_from(">L", rest, 2)
            command, rest = rest[12 : 6 + length], rest[6 + length :]
            while command:
                _, element, size = struct.unpack_from("<HHL", command)
                if element == 0x0900:
                    values.append(int.from_bytes(command[8 : 8 + size], "little"))
                command = command[8 + size :]
        return values

    def left_over(self) -> list[str]:
        """Files in the inbox."""
        return [path.name for path in self.root.rglob("*") if path.is_file()]


def _connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname(), timeout=20)
        near, _ = server.accept()
    return near, far


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    return Peer(tmp_path / "inbox")


@pytest.fixture
def request_of(
    ct: Callable[..., Dataset], as_sent: Callable[..., bytes]
) -> Callable[[], tuple[bytes, bytes]]:
    """A C-STORE request's command set, and its data set."""

    def build() -> tuple[bytes, bytes]:
        dataset = ct()
        uid = str(dataset.SOPInstanceUID).encode()
        return Wire.command(STORE, dataset=True, instance=uid), as_sent(dataset)

    return build


def in_parts(data: bytes, length: int) -> list[bytes]:
    """A data set in PDUs of `length` bytes."""
    starts = range(0, len(data), length)
    return [
        Wire.p_data((1, LAST if start + length >= len(data) else 0, data[start : start + length]))
        for start in starts
    ]


def test_a_data_set_in_any_fragments_is_kept_and_answered(
    peer: Peer, request_of: Callable[[], tuple[bytes, bytes]]
) -> None:
    command, data = request_of()
    halves = Wire.p_data((1, COMMAND, command[:20])), Wire.p_data((1, WHOLE, command[20:]))

    ended = peer.serve(*halves, *in_parts(data, 77), Wire.RELEASE)

    assert isinstance(ended, PeerReleased)
    assert peer.statuses() == [0x0000]
    (arrival,) = peer.arrivals
    assert arrival.instance.path.read_bytes().endswith(data)
    assert arrival.calling_ae_title == "PEER"
    assert peer.uses == [True]


def test_a_peer_that_goes_in_the_middle_leaves_nothing(
    peer: Peer, request_of: Callable[[], tuple[bytes, bytes]]
) -> None:
    command, data = request_of()

    begun = [Wire.p_data((1, 0, part)) for part in [data[:200], *[bytes(100_000)] * 24]]

    ended = peer.serve(Wire.p_data((1, WHOLE, command)), *begun)

    assert isinstance(ended, PeerLost)
    assert (peer.arrivals, peer.answers, peer.left_over()) == ([], b"", [])


def test_a_request_without_its_data_set_is_told_so(peer: Peer) -> None:
    command = Wire.command(STORE, dataset=False, instance=b"1.2.3")

    ended = peer.serve(Wire.p_data((1, WHOLE, command)), Wire.RELEASE)

    assert isinstance(ended, PeerReleased)
    assert peer.statuses() == [0xC000]
    assert b"the request comes without a data set" in peer.answers
    assert peer.left_over() == []


def test_one_refused_instance_does_not_cost_the_next(
    peer: Peer, request_of: Callable[[], tuple[bytes, bytes]]
) -> None:
    command, data = request_of()
    wrong = Wire.command(STORE, dataset=True, instance=b"1.2.3.4")

    ended = peer.serve(
        Wire.p_data((1, WHOLE, wrong), (1, LAST, data)),
        Wire.p_data((1, WHOLE, command), (1, LAST, data)),
        Wire.RELEASE,
    )

    assert isinstance(ended, PeerReleased)
    refused, kept = peer.statuses()
    assert refused & 0xF000 in (0xA000, 0xC000)
    assert kept == 0x0000
    assert len(peer.arrivals) == len(peer.left_over()) == 1


def test_an_echo_is_answered_and_counts_for_no_storing(peer: Peer) -> None:
    peer.serve(Wire.p_data((1, WHOLE, Wire.command(ECHO))), Wire.RELEASE)

    assert peer.statuses() == [0x0000]
    assert peer.uses == [False]


@pytest.mark.parametrize("dataset", [False, True], ids=["no data set", "a data set"])
def test_what_is_no_storing_is_not_recognized(peer: Peer, *, dataset: bool) -> None:
    query = [(1, WHOLE, Wire.command(FIND, dataset=dataset))]
    query += [(1, LAST, b"identifier")] if dataset else []

    peer.serve(Wire.p_data(*query), Wire.RELEASE)

    assert peer.statuses() == [0x0211]


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (Wire.p_data((1, LAST, b"data")), "a data set comes without its command set"),
        (
            Wire.p_data(*[(1, WHOLE, Wire.command(STORE, dataset=True, instance=b"1.2"))] * 2),
            "a command set begins within a message",
        ),
        (Wire.p_data((3, WHOLE, Wire.command(ECHO))), "presentation context 3 was not accepted"),
        (Wire.p_data(*[(1, COMMAND, bytes(8192))] * 3), "a command set is endless"),
        (b"\4\0" + struct.pack(">L", (1 << 17) + 1), "is longer than we announced"),
        (b"\4\0" + struct.pack(">L", 5) + bytes(5), "a presentation data value is cut off"),
        (b"\4\0" + struct.pack(">LLBB", 6, 9, 1, 3), "does not fit into its PDU"),
        (b"\4\0" + struct.pack(">LLBB", 6, 1, 1, 3), "does not fit into its PDU"),
        (Wire.request(), "a PDU of type 1 has no place here"),
        (b"\x63\0\0\0\0\0", "there is no PDU of type 99"),
    ],
)
def test_what_the_standard_forbids_ends_it_with_its_reason(
    peer: Peer, sent: bytes, fault: str
) -> None:
    ended = peer.serve(sent)

    assert isinstance(ended, ProtocolError)
    assert fault in str(ended)
    assert peer.left_over() == []


def test_a_peer_that_only_echoes_is_silent_in_the_end(tmp_path: Path) -> None:
    peer = Peer(tmp_path, PeerLimits(idle_timeout_s=0.2))

    ended = peer.serve(Wire.p_data((1, WHOLE, Wire.command(ECHO))), hang_up=False)

    assert isinstance(ended, PeerSilent)
    assert peer.statuses() == [0x0000]


def test_the_other_end_may_abort(peer: Peer) -> None:
    ended = peer.serve(b"\7\0\0\0\0\4\0\0\0\0")

    assert isinstance(ended, PeerLost)
    assert "aborted by the peer" in str(ended)


def test_a_class_is_stored_as_the_request_says(
    peer: Peer, request_of: Callable[[], tuple[bytes, bytes]]
) -> None:
    command, data = request_of()
    assert CT in command

    peer.serve(Wire.p_data((1, WHOLE, command), (1, LAST, data)), Wire.RELEASE)

    assert peer.arrivals[0].instance.sop_class_uid == CT.decode()
