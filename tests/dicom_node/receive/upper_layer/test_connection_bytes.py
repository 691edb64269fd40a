"""A connection as bytes, over a pair of real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from dicom_node.receive.errors import EndedByUs, PeerLost, PeerSilent
from dicom_node.receive.upper_layer.wire import Wire


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one TCP connection."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
    with closing(far), closing(near):
        far.settimeout(20)
        yield near, far


@pytest.fixture
def ends(sockets: tuple[socket.socket, socket.socket]) -> tuple[Wire, socket.socket]:
    """Our end with a deadline that no test reaches, and the peer's socket."""
    near, far = sockets
    wire = Wire(near, send_timeout_s=20, tick_s=0.05)
    wire.give(600)
    return wire, far


def test_bytes_are_taken_as_they_came(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    content = bytes(range(256)) * 40  # longer than the buffer
    peer.sendall(content)

    head = wire.take(6)
    view = bytearray(len(content) - 16)
    wire.read_into(memoryview(view))

    assert head + bytes(view) == content[:-10]
    assert wire.take(10) == content[-10:]
    assert not wire.has_rest()


def test_what_is_skipped_is_gone_and_no_more(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    peer.sendall(b"a" * 5000 + b"rest")

    wire.skip(5000)

    assert wire.take(4) == b"rest"


def test_a_peer_that_hangs_up_is_lost(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    peer.sendall(b"half")
    peer.close()

    with pytest.raises(PeerLost, match="the peer is gone"):
        wire.take(8)


def test_a_peer_that_says_nothing_until_the_deadline_is_silent(
    ends: tuple[Wire, socket.socket],
) -> None:
    wire, _ = ends
    wire.give(0)

    with pytest.raises(PeerSilent):
        wire.wait()


def test_a_peer_that_is_slow_beyond_it_is_no_better(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    peer.sendall(b"x")
    wire.give(-1)

    with pytest.raises(PeerSilent):
        wire.take(1)


def test_our_own_end_is_told_from_the_peers(ends: tuple[Wire, socket.socket]) -> None:
    wire, _ = ends

    wire.end("the node stops")

    with pytest.raises(EndedByUs, match="the node stops"):
        wire.wait()


def test_last_words_arrive_whatever_the_peer_still_sends(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    peer.sendall(b"x" * 100_000)  # unread, it would make the close a reset
    peer.shutdown(socket.SHUT_WR)

    wire.hang_up(b"farewell")

    assert peer.recv(100) == b"farewell"
    assert peer.recv(100) == b""
