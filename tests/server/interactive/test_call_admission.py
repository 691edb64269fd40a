"""No more calls, and bytes of their bodies, than fit: the others are sent away with a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from server.interactive.admission import Admission
from server.interactive.memory import MemoryAccount

PREDICT: dict[str, Any] = {"type": "http", "path": "/predict", "headers": [], "method": "POST"}


class HeldApp:
    """An application that reads whole bodies and answers once `go_on` is set."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read, wait, answer."""
        body = b""
        while scope["type"] == "http":
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.bodies.append(body)
        await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})


async def call(
    admission: Admission, parts: Sequence[bytes] = (b"",), scope: Scope = PREDICT
) -> list[Message]:
    """What is answered to a body that comes in `parts`."""
    answers: list[Message] = []
    messages = iter(
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, start=1)
    )

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        answers.append(message)

    await admission(scope, receive, send)
    return answers


def test_a_call_too_many_is_sent_away_before_its_body_is_read() -> None:
    async def act() -> tuple[list[Message], list[Message], list[bytes]]:
        app, account = HeldApp(), MemoryAccount(1000)
        admission = Admission(app, 1, account, ["/health"])
        first = asyncio.create_task(call(admission))
        await asyncio.sleep(0)
        busy = await call(admission, [b"not read"])
        free = asyncio.create_task(call(admission, scope=PREDICT | {"path": "/health"}))
        await asyncio.sleep(0)
        app.go_on.set()
        await asyncio.gather(first, free)
        return busy, await call(admission), app.bodies

    (start, body), later, bodies = asyncio.run(act())

    assert start["status"] == 503
    assert (b"retry-after", b"5") in start["headers"]
    detail = json.loads(body["body"])["detail"]
    assert detail == "1 calls are being worked on: try again"
    assert bodies == [b"", b"", b""]  # the one that was working, the free path, the one after
    assert later[0]["status"] == 200


def test_the_memory_of_a_body_is_taken_part_by_part_and_given_back() -> None:
    async def act() -> MemoryAccount:
        app, account = HeldApp(), MemoryAccount(30)  # three times a body of ten bytes
        admission = Admission(app, 9, account, [])
        first = asyncio.create_task(call(admission, [b"12345", b"67890"]))
        await asyncio.sleep(0)
        assert account.reserved_bytes == 30
        with pytest.raises(HTTPException, match="no memory for this body now: try again") as full:
            await call(admission, [b"1"])
        assert full.value.status_code == 503
        assert full.value.headers == {"Retry-After": "5"}
        assert account.reserved_bytes == 30  # what was refused had taken nothing
        app.go_on.set()
        await first
        return account

    assert asyncio.run(act()).reserved_bytes == 0


def test_what_an_application_fails_at_keeps_no_place_and_no_memory() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise RuntimeError

    async def act() -> MemoryAccount:
        account = MemoryAccount(30)
        admission = Admission(failing, 1, account, [])
        for _ in range(2):
            with pytest.raises(RuntimeError):
                await call(admission, [b"1234567890"])
        return account

    assert asyncio.run(act()).reserved_bytes == 0


def test_what_is_no_call_is_passed_on_whatever_the_load() -> None:
    async def act() -> list[bytes]:
        app = HeldApp()
        app.go_on.set()
        await call(Admission(app, 0, MemoryAccount(0), []), scope={"type": "lifespan"})
        return app.bodies

    assert asyncio.run(act()) == [b""]
