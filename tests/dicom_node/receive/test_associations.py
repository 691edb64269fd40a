"""Messages as no library sends them: split anywhere, out of order, for services that we do not
have. Both paths alike.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_node.fakes import RecordingObserver
from dicom_node.receive.limits import PeerLimits
from dicom_node.receive.listener import Listener
from tests.dicom_node.conftest import Sender
from tests.dicom_node.receive.conftest import RawPeer, Wire

CT, VERIFICATION = b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.1.1"
FIND = b"1.2.840.10008.5.1.4.1.2.2.1"
ACCEPT, REJECT, DATA, RELEASE_REPLY, ABORT = 2, 3, 4, 6, 7
C_STORE, C_FIND, C_ECHO = 0x0001, 0x0020, 0x0030


@pytest.fixture
def instance(ct: Callable[..., Dataset], as_sent: Callable[..., bytes]) -> tuple[bytes, bytes]:
    """A SOP Instance UID and the bytes of its data set."""
    dataset = ct()
    return str(dataset.SOPInstanceUID).encode(), as_sent(dataset)


def test_a_message_may_be_split_anywhere(
    listening: Callable[..., Listener],
    raw: Callable[[int], RawPeer],
    wire: type[Wire],
    observer: RecordingObserver,
    instance: tuple[bytes, bytes],
) -> None:
    uid, data = instance
    command = wire.command(C_STORE, dataset=True, instance=uid)
    peer = raw(listening().port)
    peer.associate((1, CT))

    # one fragment of one byte, an empty one, the end of the command and the data set's beginning in
    # one PDU
    peer.send(wire.p_data((1, 1, command[:1]), (1, 1, b"")))
    peer.send(wire.p_data((1, 3, command[1:]), (1, 0, data[:1])))
    for start in range(1, len(data), 100):
        peer.send(wire.p_data((1, 0, data[start : start + 100])))
    peer.send(wire.p_data((1, 2, b"")))

    assert peer.status() == 0x0000
    ((_, arrival),) = observer.arrivals
    assert arrival.instance.path.read_bytes().endswith(data)


def test_bytes_may_come_a_few_at_a_time(
    listening: Callable[..., Listener],
    raw: Callable[[int], RawPeer],
    wire: type[Wire],
    instance: tuple[bytes, bytes],
) -> None:
    uid, data = instance
    peer = raw(listening().port)

    def trickle(sent: bytes) -> None:
        for start in range(0, len(sent), 7):
            peer.send(sent[start : start + 7])

    trickle(wire.request((1, CT), (3, VERIFICATION)))
    assert peer.read()[0] == ACCEPT
    trickle(
        wire.p_data((1, 3, wire.command(C_STORE, dataset=True, instance=uid)))
        + wire.p_data((1, 2, data))
    )
    assert peer.status() == 0x0000
    peer.send(wire.RELEASE)
    assert peer.read() == (RELEASE_REPLY, bytes(4))


def test_an_unknown_operation_is_answered_and_the_next_request_served(
    listening: Callable[..., Listener],
    raw: Callable[[int], RawPeer],
    wire: type[Wire],
    reference: bool,
) -> None:
    if reference:
        pytest.skip("pynetdicom aborts")
    peer = raw(listening().port)
    peer.associate((1, CT))

    peer.send(
        wire.p_data((1, 3, wire.command(C_FIND, dataset=True))), wire.p_data((1, 2, b"query"))
    )
    first = peer.status()
    peer.send(wire.p_data((1, 3, wire.command(C_ECHO, sop_class=VERIFICATION))))

    assert (first, peer.status()) == (0x0211, 0x0000)  # PS3.7 9.1.1.1.9: unrecognized operation


def test_a_store_request_without_a_data_set_is_answered(
    listening: Callable[..., Listener], raw: Callable[[int], RawPeer], wire: type[Wire]
) -> None:
    peer = raw(listening().port)
    peer.associate((1, CT))

    peer.send(wire.p_data((1, 3, wire.command(C_STORE, instance=b"1.2.3"))))

    assert peer.status() == 0xC000


@pytest.mark.parametrize(
    "values",
    [
        [(1, 2, b"data before its command")],
        [(3, 3, b"command")],  # a context that was not proposed
        [(1, 3, b"")],
        [(1, 3, b"\0\0\0\1\xff\xff\xff\xff")],  # an element of four gigabytes
        [(1, 3, b"\x08\0\x18\0\0\0\0\0")],  # one of another group
    ],
    ids=["data first", "wrong context", "no command", "endless element", "wrong group"],
)
def test_what_has_no_place_in_an_association_is_aborted(
    listening: Callable[..., Listener],
    raw: Callable[[int], RawPeer],
    wire: type[Wire],
    eventually: Callable[..., None],
    values: list[tuple[int, int, bytes]],
) -> None:
    listener = listening()
    peer = raw(listener.port)
    peer.associate((1, CT))

    peer.send(wire.p_data(*values))

    assert peer.read()[0] == ABORT
    eventually(lambda: listener.open_associations == 0)


def test_a_command_within_a_data_set_is_aborted_and_leaves_nothing(
    tmp_path: Path,
    listening: Callable[..., Listener],
    raw: Callable[[int], RawPeer],
    wire: type[Wire],
    instance: tuple[bytes, bytes],
) -> None:
    uid, data = instance
    command = wire.command(C_STORE, dataset=True, instance=uid)
    peer = raw(listening().port)
    peer.associate((1, CT))

    peer.send(wire.p_data((1, 3, command), (1, 0, data[:50]), (1, 3, command)))

    assert peer.read()[0] == ABORT
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [
        ({"version": b"\0\2"}, (1, 2, 2)),
        ({"application": b"1.2.3"}, (1, 1, 2)),
        ({"calling": b""}, (1, 1, 3)),
        ({"calling": b"A\nB"}, (1, 1, 3)),
        ({"called": b"\xff\xff"}, (1, 1, 7)),
    ],
)
def test_requests_that_cannot_be_met_are_rejected_with_their_reason(
    listening: Callable[..., Listener],
    raw: Callable[[int], RawPeer],
    wire: type[Wire],
    request_bytes: dict[str, bytes],
    answer: tuple[int, int, int],
) -> None:
    peer = raw(listening().port)

    peer.send(wire.request((1, CT), **request_bytes))

    kind, body = peer.read()
    assert (kind, tuple(body[1:])) == (REJECT, answer)


@pytest.mark.parametrize("contexts", [[(2, CT)], [(1, CT), (1, CT)]], ids=["even", "twice"])
def test_unsound_contexts_are_aborted(
    listening: Callable[..., Listener],
    raw: Callable[[int], RawPeer],
    contexts: list[tuple[int, bytes]],
) -> None:
    assert raw(listening().port).associate(*contexts) == ABORT


@pytest.mark.parametrize(
    "user",
    [
        b"\x53\0\0\4\0\5\0\5",  # asynchronous operations
        b"\x54\0\0\x1d\0\x19" + CT + b"\1\1",  # roles
        b"\x58\0\0\x0a\1\0\0\4user\0\0",  # user identity, no response wanted
        b"\x7f\0\0\2??",  # an item of a later edition
    ],
    ids=["asynchronous", "roles", "user", "unknown"],
)
def test_what_else_is_negotiated_does_no_harm(
    listening: Callable[..., Listener],
    raw: Callable[[int], RawPeer],
    wire: type[Wire],
    instance: tuple[bytes, bytes],
    reference: bool,
    user: bytes,
) -> None:
    if reference and user[0] == 0x7F:
        pytest.skip("pynetdicom aborts at items that it does not know")
    uid, data = instance
    peer = raw(listening().port)

    assert peer.associate((1, CT), user=user) == ACCEPT
    peer.send(wire.p_data((1, 3, wire.command(C_STORE, dataset=True, instance=uid)), (1, 2, data)))

    assert peer.status() == 0x0000


def test_a_peer_that_asks_for_more_than_storage_stores_all_the_same(
    listening: Callable[..., Listener],
    raw: Callable[[int], RawPeer],
    wire: type[Wire],
    observer: RecordingObserver,
    instance: tuple[bytes, bytes],
) -> None:
    uid, data = instance
    peer = raw(listening().port)

    assert peer.associate((1, CT), (3, FIND)) == ACCEPT
    peer.send(wire.p_data((1, 3, wire.command(C_STORE, dataset=True, instance=uid))))
    peer.send(wire.p_data((1, 0, data[:99])), wire.p_data((1, 2, data[99:])))

    assert peer.status() == 0x0000
    ((_, arrival),) = observer.arrivals
    assert arrival.instance.path.read_bytes().endswith(data)


def test_a_large_data_set_is_in_its_file_while_it_comes(
    tmp_path: Path,
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    observer: RecordingObserver,
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
) -> None:
    dataset = ct(PixelData=bytes(range(256)) * (20 << 10))  # 5 MiB and a bit: several blocks
    data = as_sent(dataset)

    with sending(listening().port) as sender:
        response = sender.store(data, dataset.SOPInstanceUID)

    ((_, arrival),) = observer.arrivals
    assert response.Status == 0x0000
    assert arrival.instance.path.read_bytes().endswith(data)
    assert list((tmp_path / "inbox" / ".incoming").iterdir()) == []


def test_our_answers_fit_into_the_pdus_that_the_peer_takes(
    listening: Callable[..., Listener],
    raw: Callable[[int], RawPeer],
    wire: type[Wire],
    reference: bool,
) -> None:
    if reference:
        pytest.skip("pynetdicom's own business")
    peer = raw(listening().port)
    request = wire.request((1, VERIFICATION)).replace(
        b"\x51\0\0\4\0\0\x40\0", b"\x51\0\0\4\0\0\0\x20"
    )
    peer.send(request)
    peer.read()

    peer.send(wire.p_data((1, 3, wire.command(C_ECHO, sop_class=VERIFICATION))))
    pdus = [peer.read()]
    while not pdus[-1][1][5] & 2:
        pdus.append(peer.read())

    assert len(pdus) > 2
    assert {kind for kind, _ in pdus} == {DATA}
    assert max(len(body) for _, body in pdus) <= 32


def test_a_longer_pdu_than_we_announced_is_not_read(
    listening: Callable[..., Listener], raw: Callable[[int], RawPeer], wire: type[Wire]
) -> None:
    peer = raw(listening(limits=PeerLimits(pdu_bytes=1 << 14)).port)
    peer.send(wire.request((1, CT)))
    _, answer = peer.read()

    peer.send(b"\4\0" + ((1 << 14) + 1).to_bytes(4, "big"))

    assert b"\x51\0\0\4" + (1 << 14).to_bytes(4, "big") in answer
    assert peer.read()[0] == ABORT
