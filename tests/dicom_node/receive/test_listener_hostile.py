"""Peers that talk nonsense, vanish or fall silent: nothing half-stored, nothing left behind, the
next peer served.
"""

from __future__ import annotations

import gc
import random
import resource
import socket
import struct
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_node.fakes import RecordingObserver
from dicom_node.receive.inbox import Inbox
from dicom_node.receive.limits import PeerLimits
from dicom_node.receive.listener import Listener
from tests.dicom_node.conftest import Sender

ASSOCIATE_RQ, P_DATA = 0x01, 0x04


def connect(listener: Listener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), timeout=20)


def is_hung_up_on(connection: socket.socket, patience_s: float = 20.0) -> bool:
    """Whether the listener ends this connection, whatever it says before."""
    connection.settimeout(patience_s)
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def files(inbox_root: Path) -> list[Path]:
    return [path for path in inbox_root.rglob("*") if path.is_file()]


@pytest.fixture
def is_alive(
    sending: Callable[..., AbstractContextManager[Sender]],
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
) -> Callable[[Listener], bool]:
    """Whether a well-behaved peer is served."""

    def check(listener: Listener) -> bool:
        data = as_sent(dataset := ct())
        with sending(listener.port) as sender:
            return bool(sender.store(data, dataset.SOPInstanceUID).Status == 0x0000)

    return check


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\0",
        b"GET / HTTP/1.1\r\nHost: segnode\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # a TLS client
        b"\xff" * 4096,
        struct.pack(">BBL", P_DATA, 0, 20) + bytes(20),  # data before an association
        struct.pack(">BBL", ASSOCIATE_RQ, 0, 4) + bytes(4),
        struct.pack(">BBL", ASSOCIATE_RQ, 0, 68) + bytes(68),
        struct.pack(">BBL", ASSOCIATE_RQ, 0, 0xFFFFFFFF) + bytes(1000),  # four gigabytes to come
    ],
    ids=lambda said: f"{said[:6].hex() or 'nothing'}",
)
def test_nonsense_is_hung_up_on(
    listening: Callable[..., Listener],
    impatient: PeerLimits,
    is_alive: Callable[[Listener], bool],
    eventually: Callable[..., None],
    said: bytes,
) -> None:
    listener = listening(limits=impatient)
    threads = threading.active_count()

    with connect(listener) as connection:
        connection.sendall(said)
        hung_up = is_hung_up_on(connection)

    assert hung_up
    eventually(lambda: threading.active_count() <= threads)
    assert is_alive(listener)


def test_random_bytes_do_no_harm(
    listening: Callable[..., Listener],
    impatient: PeerLimits,
    is_alive: Callable[[Listener], bool],
    eventually: Callable[..., None],
) -> None:
    listener = listening(limits=impatient)
    threads, chance = threading.active_count(), random.Random(7)

    for _ in range(60):
        with connect(listener) as connection:
            kind = chance.choice((chance.randrange(256), *range(1, 8)))
            length = chance.choice((chance.randrange(1 << 32), 10, 100))
            connection.sendall(struct.pack(">BBL", kind, 0, length) + chance.randbytes(100))

    eventually(lambda: threading.active_count() <= threads)
    assert is_alive(listener)


def open_descriptors() -> int:
    """How many files and sockets this process holds open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_connecting_and_closing_leaves_nothing_behind(
    listening: Callable[..., Listener],
    is_alive: Callable[[Listener], bool],
    eventually: Callable[..., None],
) -> None:
    listener = listening()  # with the limits of a real node: nothing may wait for its time-out
    threads, descriptors = threading.active_count(), open_descriptors()

    for _ in range(200):
        connect(listener).close()

    eventually(lambda: threading.active_count() <= threads, 8.0)
    # pynetdicom closes a socket a moment after the thread that served it has ended
    eventually(lambda: open_descriptors() <= descriptors, 8.0)
    assert is_alive(listener)


def test_a_peer_that_resets_its_connection_leaves_no_socket_open(
    listening: Callable[..., Listener], eventually: Callable[..., None]
) -> None:
    listener = listening()
    threads = threading.active_count()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        for _ in range(20):
            with connect(listener) as connection:
                reset = struct.pack("ii", 1, 0)  # closing says RST, not FIN
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                connection.sendall(b"\xff" * 100)
        eventually(lambda: threading.active_count() <= threads)
        gc.collect()

    assert [str(warning.message) for warning in caught] == []


def test_connections_that_only_sit_there_do_not_keep_others_out(
    listening: Callable[..., Listener], is_alive: Callable[[Listener], bool]
) -> None:
    listener = listening(limits=PeerLimits(associations=2))

    with ExitStack() as connections:
        for _ in range(5):
            connections.enter_context(connect(listener))
        served = is_alive(listener)

    assert served


def test_connections_that_ask_for_nothing_are_ended(
    listening: Callable[..., Listener], eventually: Callable[..., None]
) -> None:
    listener = listening(limits=PeerLimits(associations=3, request_timeout_s=0.5))
    threads = threading.active_count()

    with ExitStack() as connections:
        idle = [connections.enter_context(connect(listener)) for _ in range(40)]
        hung_up = [is_hung_up_on(connection) for connection in idle]

    assert all(hung_up)
    eventually(lambda: threading.active_count() <= threads)


def test_of_too_many_connections_the_oldest_that_asks_for_nothing_makes_room(
    listening: Callable[..., Listener], is_alive: Callable[[Listener], bool]
) -> None:
    listener = listening(limits=PeerLimits(associations=2))  # four connections for each

    with ExitStack() as connections:
        idle = [connections.enter_context(connect(listener)) for _ in range(8)]
        served = is_alive(listener)
        oldest_hung_up = is_hung_up_on(idle[0], patience_s=5.0)
        idle[-1].settimeout(0.2)
        with pytest.raises(TimeoutError):
            idle[-1].recv(1)

    assert served
    assert oldest_hung_up  # long before the time to ask for an association is over


def test_stopping_ends_connections_that_have_asked_for_nothing(
    listening: Callable[..., Listener], eventually: Callable[..., None]
) -> None:
    threads = threading.active_count()
    listener = listening()

    with connect(listener) as connection:
        eventually(lambda: threading.active_count() >= threads + 2)
        listener.stop()
        hung_up = is_hung_up_on(connection)

    assert hung_up
    assert threading.active_count() == threads


def test_an_association_dropped_in_mid_transfer_leaves_no_half_file(
    tmp_path: Path,
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    observer: RecordingObserver,
    eventually: Callable[..., None],
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
) -> None:
    listener = listening()
    whole = as_sent(first := ct())
    torn = as_sent(second := ct())

    with sending(listener.port) as sender:
        sender.store(whole, first.SOPInstanceUID)
        association = sender.association
        context = association.accepted_contexts[0].context_id
        connection = association.dul.socket.socket
        # the second request's command never comes, and its data only in part: one PDU with a
        # fragment, "not the last"
        fragment = bytes([context, 0x00]) + torn[:300]
        pdv = struct.pack(">L", len(fragment)) + fragment
        connection.sendall(struct.pack(">BBL", P_DATA, 0, len(pdv) + 5000) + pdv)
        connection.shutdown(socket.SHUT_RDWR)
        eventually(lambda: listener.open_associations == 0)

    assert [a.instance.sop_instance_uid for _, a in observer.arrivals] == [first.SOPInstanceUID]
    assert observer.closed == observer.opened
    assert [path.name for path in files(tmp_path)] == [f"{first.SOPInstanceUID}.dcm"]
    assert second.SOPInstanceUID not in str(files(tmp_path))


@pytest.mark.parametrize("mid_pdu", [False, True], ids=["between requests", "inside a PDU"])
def test_a_peer_that_falls_silent_is_let_go(
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    impatient: PeerLimits,
    observer: RecordingObserver,
    eventually: Callable[..., None],
    is_alive: Callable[[Listener], bool],
    mid_pdu: bool,
) -> None:
    listener = listening(limits=impatient)

    with sending(listener.port) as sender:
        if mid_pdu:
            sender.association.dul.socket.socket.sendall(struct.pack(">BBL", P_DATA, 0, 5000))
        eventually(lambda: observer.closed == observer.opened != [])

    assert listener.open_associations == 0
    assert is_alive(listener)


def test_stopping_does_not_wait_for_a_peer_that_is_stuck(
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    observer: RecordingObserver,
) -> None:
    listener = listening()  # whose own patience is much longer than this test's

    with sending(listener.port) as sender:
        sender.association.dul.socket.socket.sendall(struct.pack(">BBL", P_DATA, 0, 5000))
        listener.stop()

    assert observer.closed == observer.opened != []
    assert threading.active_count() < 10


def test_many_associations_at_once_are_served_and_end(
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    inbox: Inbox,
    observer: RecordingObserver,
    eventually: Callable[..., None],
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
) -> None:
    listener = listening()
    study = ct().StudyInstanceUID
    statuses: list[int] = []

    def send() -> None:
        with sending(listener.port) as sender:
            for _ in range(5):
                dataset = ct(StudyInstanceUID=study)
                statuses.append(sender.store(as_sent(dataset), dataset.SOPInstanceUID).Status)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: listener.open_associations == 0)

    assert statuses == [0x0000] * 40
    assert len(inbox.instances(study)) == 40
    assert sorted(observer.closed) == sorted(observer.opened)
    assert len(observer.opened) == 8


FULL_DISK = """
import resource, sys
from pathlib import Path
from dicom_node.errors import StorageFull
from dicom_node.arrivals import StoreRequest
from dicom_node.receive.inbox import Inbox

data = Path(sys.argv[2]).read_bytes()
inbox = Inbox(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (len(data) // 2, resource.RLIM_INFINITY))
sent = StoreRequest("1.2.840.10008.5.1.4.1.1.2", sys.argv[3], "1.2.840.10008.1.2.1")
try:
    inbox.store(data, sent)
except StorageFull as error:
    sys.exit(f"refused: {error}")
"""


def test_a_file_that_may_not_be_written_whole_is_not_there_at_all(
    tmp_path: Path, repository: Path, ct: Callable[..., Dataset], as_sent: Callable[..., bytes]
) -> None:
    dataset = ct(PixelData=bytes(1 << 20))
    data = tmp_path / "data"
    data.write_bytes(as_sent(dataset))

    done = subprocess.run(
        [
            sys.executable,
            "-c",
            FULL_DISK,
            str(tmp_path / "inbox"),
            str(data),
            dataset.SOPInstanceUID,
        ],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr.strip().endswith("refused: no room left on the storage volume")
    assert files(tmp_path / "inbox") == []


@pytest.fixture
def small_volume(tmp_path: Path) -> Any:
    """A tmpfs of 2 MiB; mounting one needs root."""
    folder = tmp_path / "volume"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_answered_with_out_of_resources_until_there_is_room(
    small_volume: Path,
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
) -> None:
    inbox = Inbox(small_volume / "inbox")
    study = ct().StudyInstanceUID
    sent = [ct(StudyInstanceUID=study, PixelData=bytes(1 << 19)) for _ in range(6)]

    with sending(listening(inbox=inbox).port) as sender:
        statuses = [sender.store(as_sent(d), d.SOPInstanceUID).Status for d in sent]
        stored = inbox.instances(study)
        stored[0].path.unlink()
        after = sender.store(as_sent(sent[-1]), sent[-1].SOPInstanceUID).Status

    assert statuses == [0x0000] * 3 + [0xA700] * 3
    assert len(stored) == 3
    assert after == 0x0000
    assert len(files(small_volume)) == 3


def test_memory_does_not_grow_with_connections(
    listening: Callable[..., Listener], eventually: Callable[..., None]
) -> None:
    listener = listening()
    threads = threading.active_count()

    def storm() -> int:
        for _ in range(100):
            connect(listener).close()
        eventually(lambda: threading.active_count() <= threads)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    storm()
    before_kib = storm()
    after_kib = max(storm() for _ in range(3))

    assert after_kib - before_kib < 8 * 1024
