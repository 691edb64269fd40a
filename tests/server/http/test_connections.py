"""Connections on real sockets: half a request is not waited for, and nobody holds more connections
than his share.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from server.http.connections import ConnectionLimits
from server.http.serving import bounded

QUICK = ConnectionLimits(head_s=0.2, body_s=0.2, body_bytes_per_s=1e9, write_s=0.3)
LIMIT_S = 20.0
WHOLE = b"GET / HTTP/1.1\r\nHost: node\r\n\r\n"

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with as many bytes as came, or with as many as are asked for."""
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    wanted = int(scope["query_string"] or b"0")
    body = b"%d" % size + b"x" * wanted
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(limits: ConnectionLimits) -> AsyncIterator[int]:
    """A server on a free port."""
    config = uvicorn.Config(application, http=bounded(limits), log_config=None, lifespan="off")
    config.load()
    state, loop = ServerState(), asyncio.get_running_loop()
    make: Any = config.http_protocol_class
    server = await loop.create_server(
        lambda: make(config=config, server_state=state, app_state={}, _loop=loop), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class Peer:
    """Opens connections to a server, and closes them all in the end."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, sent: bytes = b"") -> Stream:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.append(writer)
        writer.write(sent)
        return reader, writer

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
        for writer in self._writers:
            with suppress(ConnectionError):
                await writer.wait_closed()


def serve_to(act: Callable[[Peer], Awaitable[Any]], limits: ConnectionLimits = QUICK) -> Any:
    """What `act` comes back with from its connections to a server."""

    async def run() -> Any:
        async with serving(limits) as port:
            peer = Peer(port)
            try:
                return await asyncio.wait_for(act(peer), LIMIT_S)
            finally:
                await peer.close()

    return asyncio.run(run())


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("sent", "phase"),
    [
        (b"", "head"),
        (b"GET / HT", "head"),
        (b"GET / HTTP/1.1\r\nHost: node\r\n", "head"),
        (b"POST / HTTP/1.1\r\nHost: node\r\nContent-Length: 10\r\n\r\n123", "body"),
        (b"POST / HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n1", "body"),
    ],
    ids=["nothing", "half a line", "headers without an end", "half a body", "half a chunk"],
)
def test_what_does_not_come_is_not_waited_for(sent: bytes, phase: str) -> None:
    async def act(peer: Peer) -> bytes:
        reader, _ = await peer.connect(sent)
        return await reader.read()

    answer = serve_to(act)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(answer) == 408
    assert b"Content-Type: application/problem+json" in head
    assert b"X-Content-Type-Options: nosniff" in head
    assert phase in json.loads(body)["detail"]


def test_a_byte_now_and_then_buys_no_time() -> None:
    async def act(peer: Peer) -> bytes:
        reader, writer = await peer.connect(b"GET / HTTP/1.1\r\n")
        answer = asyncio.create_task(reader.read())
        while not answer.done():
            writer.write(b"X-A: b\r\n")
            await asyncio.sleep(0.05)
        return answer.result()

    assert status_of(serve_to(act)) == 408


def test_the_second_request_of_a_connection_has_a_deadline_too() -> None:
    async def act(peer: Peer) -> tuple[bytes, bytes]:
        reader, writer = await peer.connect(WHOLE)
        first = await reader.readuntil(b"\r\n\r\n0")
        writer.write(b"GET / HT")
        return first, await reader.read()

    first, second = serve_to(act)

    assert status_of(first) == 200
    assert status_of(second) == 408


def test_a_large_body_that_keeps_coming_is_taken() -> None:
    # in twice the time that a body has without regard to its size
    limits = ConnectionLimits(head_s=5.0, body_s=0.2, body_bytes_per_s=100_000)
    parts, part = 10, b"x" * 100_000

    async def act(peer: Peer) -> bytes:
        head = b"POST / HTTP/1.1\r\nHost: node\r\nContent-Length: %d\r\n\r\n" % (parts * len(part))
        reader, writer = await peer.connect(head)
        for _ in range(parts):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.04)
        return await reader.readuntil(b"\r\n\r\n1000000")

    assert status_of(serve_to(act, limits)) == 200


def test_an_answer_that_nobody_takes_is_given_up() -> None:
    async def act(peer: Peer) -> bool:
        _, writer = await peer.connect(b"GET /?50000000 HTTP/1.1\r\nHost: node\r\n\r\n")
        while True:  # nothing is read; at last the server hangs up
            writer.write(b"x")
            try:
                await writer.drain()
            except ConnectionError:
                return True
            await asyncio.sleep(0.05)

    assert serve_to(act)


def test_nobody_holds_more_connections_than_his_share() -> None:
    limits = ConnectionLimits(connections=100, per_address=3)

    async def act(peer: Peer) -> tuple[list[int], int]:
        open_ones = [await peer.connect() for _ in range(3)]
        refused = [status_of(await (await peer.connect(WHOLE))[0].read()) for _ in range(2)]
        open_ones[0][1].close()
        while True:  # until the server has noticed
            reader, _ = await peer.connect(WHOLE)
            status = status_of(await reader.readuntil(b"\r\n"))
            if status == 200:
                return refused, status
            await asyncio.sleep(0.02)

    refused, after = serve_to(act, limits)

    assert refused == [503, 503]
    assert after == 200


def test_there_are_no_more_connections_than_the_server_has_room_for() -> None:
    async def act(peer: Peer) -> int:
        await peer.connect()
        return status_of(await (await peer.connect(WHOLE))[0].read())

    assert serve_to(act, ConnectionLimits(connections=1, per_address=10)) == 503


def test_what_is_no_http_is_a_problem_too() -> None:
    async def act(peer: Peer) -> bytes:
        return await (await peer.connect(b"\x16\x03\x01\x02\x00\x01\r\n\r\n"))[0].read()

    answer = serve_to(act, ConnectionLimits())

    assert status_of(answer) == 400
    assert b"application/problem+json" in answer


def test_hundreds_of_half_requests_keep_no_whole_one_out() -> None:
    async def act(peer: Peer) -> int:
        half = [await peer.connect(b"GET / HTTP/1.1\r\n") for _ in range(300)]
        await asyncio.gather(*(reader.read() for reader, _ in half))
        reader, _ = await peer.connect(WHOLE)
        return status_of(await reader.readuntil(b"\r\n"))

    assert serve_to(act) == 200
