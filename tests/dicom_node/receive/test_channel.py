"""Messages and connections between a listener and a receiver: in order, whole, and their end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from dicom_node.receive.channel import Channel


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """Both ends of a channel."""
    ours, theirs = map(Channel, socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


def test_each_connection_comes_with_its_message(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    pairs = [socket.socketpair() for _ in range(3)]

    for number, (near, _) in enumerate(pairs):
        ours.send({"take": number}, near)
        ours.send({"nothing": number})
        near.close()  # what was sent is the receiver's own
    messages = theirs.messages()
    for number, (_, far) in enumerate(pairs):
        assert next(messages) == {"take": number}
        with theirs.connection() as connection:
            connection.sendall(b"%d" % number)
        assert far.recv(9) == b"%d" % number
        assert far.recv(9) == b""  # nobody else holds it
        far.close()
        assert next(messages) == {"nothing": number}


def test_a_message_longer_than_a_read_arrives_whole(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    near, far = socket.socketpair()
    # longer than a socket's buffer, so that only a part of it goes with the connection
    sending = threading.Thread(target=ours.send, args=({"text": "a\nü" * 200_000}, near))
    sending.start()

    message = next(theirs.messages())
    sending.join()

    assert message == {"text": "a\nü" * 200_000}
    with theirs.connection() as connection, near, far:
        connection.sendall(b"x")
        assert far.recv(1) == b"x"


def test_messages_of_several_threads_are_not_mixed(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends

    def send(number: int) -> None:
        for _ in range(50):
            ours.send({"from": number, "text": "x" * 5000})

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    messages = theirs.messages()
    counts = [0] * 4
    for _ in range(200):
        counts[next(messages)["from"]] += 1
    for thread in threads:
        thread.join()

    assert counts == [50] * 4


def test_the_end_of_one_is_heard_by_the_other(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    ours.send({"last": 1})
    ours.close()

    assert list(theirs.messages()) == [{"last": 1}]
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        theirs.send({"late": 1})
    theirs.close()
    theirs.close()  # twice is once
