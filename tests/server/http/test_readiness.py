"""When a node may be sent work: every part moves; and who waits for something keeps no answer about
that back.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from dicom_node.values import ResultKind
from server.errors import TooManyCalls
from server.http.app import ECHOES_AT_ONCE, create_app
from server.http.fakes import FakeCounting, FakePictures, FakeRecord, FakeWaiting, moving
from server.http.ports import ConfiguredDestination, Services
from server.http.tokens import tokens_of
from server.http.waiting import Counter, Shared
from server.pulses import Part
from server.record.views import PartView
from server.settings import DestinationSettings

STILL: dict[str, Callable[[PartView], PartView]] = {
    "its loop stands still": lambda part: replace(part, age_s=11.0),
    "its process stands still": lambda part: replace(
        part, age_s=60.0, limit_s=3600.0, silent_s=59.5
    ),
    "the clock was set back since": lambda part: replace(part, age_s=-3000.0, silent_s=-3000.0),
    "what it does fails": lambda part: replace(part, fault="every fsync fails"),
}


def checks(api: TestClient) -> tuple[int, dict[str, str]]:
    answer = api.get("/health/ready")
    return answer.status_code, answer.json()["checks"]


@pytest.mark.parametrize("part", Part)
@pytest.mark.parametrize("change", STILL.values(), ids=STILL.keys())
def test_a_part_that_does_not_do_its_work_makes_the_node_not_ready(
    stranger: TestClient,
    counting: FakeCounting,
    part: Part,
    change: Callable[[PartView], PartView],
) -> None:
    counting.seen_parts = [
        change(each) if each.part == part else each for each in counting.seen_parts
    ]

    status, told = checks(stranger)

    assert status == 503
    assert [name for name, said in told.items() if said != "ok"] == [part]


@pytest.mark.parametrize("part", [Part.LISTENER, Part.INTAKE, Part.WORKER])
def test_a_part_that_is_nowhere_makes_the_node_not_ready(
    stranger: TestClient, counting: FakeCounting, part: Part
) -> None:
    counting.seen_parts = [each for each in counting.seen_parts if each.part != part]

    status, told = checks(stranger)

    assert status == 503
    assert "segnode serve" in told[part]


def test_the_answer_names_each_part_its_age_and_what_is_wrong(
    stranger: TestClient, counting: FakeCounting
) -> None:
    counting.seen_parts[2] = replace(moving(Part.WORKER), age_s=75.0, doing="select")

    told = stranger.get("/health/ready").json()

    worker = told["parts"][2]
    assert (worker["part"], worker["age_s"], worker["limit_s"]) == ("worker", 75.0, 10.0)
    assert "the worker has not moved for 75 s" in told["detail"]
    assert "select" in told["checks"]["worker"]


def test_a_silent_worker_on_another_machine_may_have_ended_if_another_one_works(
    stranger: TestClient, counting: FakeCounting
) -> None:
    elsewhere = replace(moving(Part.WORKER), here=False, age_s=600.0)
    counting.seen_parts.append(elsewhere)
    with_another = checks(stranger)[0]
    counting.seen_parts = [
        each for each in counting.seen_parts if each.part != Part.WORKER or each == elsewhere
    ]

    assert with_another == 200
    assert checks(stranger)[0] == 503


def test_one_of_two_workers_on_this_machine_that_stands_still_is_a_fault(
    stranger: TestClient, counting: FakeCounting
) -> None:
    counting.seen_parts.append(replace(moving(Part.WORKER), age_s=600.0))

    assert checks(stranger)[0] == 503


class SilentDestination:
    """A destination that answers when a test says so."""

    def __init__(self) -> None:
        self.name, self.kinds = "pacs", tuple(ResultKind)
        self.go_on = threading.Event()

    def echo(self) -> None:
        self.go_on.wait(30)

    def negotiate(self) -> None:
        raise NotImplementedError

    def send(self, results: Any) -> str:
        raise NotImplementedError


@contextmanager
def served(
    storage: Path, counting: FakeCounting, silent: SilentDestination
) -> Iterator[httpx.ASGITransport]:
    settings = DestinationSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=1)
    destinations = (ConfiguredDestination(settings, silent),)
    services = Services(
        FakeRecord(), counting, FakeWaiting(FakeRecord()), FakePictures(), destinations, storage, 0
    )
    yield httpx.ASGITransport(create_app(services, tokens_of(("a-token-of-good-length",))))
    silent.go_on.set()


def test_echoes_to_a_silent_destination_hold_up_nobody(
    counting: FakeCounting, tmp_path: Path
) -> None:
    silent = SilentDestination()

    async def ask(transport: httpx.ASGITransport) -> tuple[list[int], list[int], float]:
        headers = {"Authorization": "Bearer a-token-of-good-length"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://node", headers=headers
        ) as client:
            echoes = [
                asyncio.create_task(client.post("/api/v1/destinations/pacs/echo"))
                for _ in range(60)
            ]
            await asyncio.sleep(0)
            began_s = time.monotonic()
            paths = ("/health/live", "/health/ready", "/metrics", "/api/v1/studies")
            others = [(await client.get(path)).status_code for path in paths]
            took_s = time.monotonic() - began_s
            silent.go_on.set()
            return [(await echo).status_code for echo in echoes], others, took_s

    with served(tmp_path, counting, silent) as transport:
        echoed, others, took_s = asyncio.run(ask(transport))

    assert others == [200] * 4
    assert took_s < 10  # a thread that is waited for would take until the destination answers
    assert echoed.count(200) == ECHOES_AT_ONCE
    assert echoed.count(429) == 60 - ECHOES_AT_ONCE


def test_one_hanging_look_is_joined_by_no_other_and_told_in_time() -> None:
    go_on, calls = threading.Event(), []

    def hang() -> str:
        calls.append(1)
        go_on.wait(30)
        return "seen"

    async def ask() -> list[Any]:
        shared = Shared(hang, limit_s=0.05)
        given = await asyncio.gather(*(shared.get() for _ in range(50)), return_exceptions=True)
        go_on.set()
        while True:  # the next to ask has the answer as soon as there is one
            try:
                return [*given, await shared.get()]
            except TimeoutError:
                await asyncio.sleep(0.01)

    told = asyncio.run(ask())

    assert all(isinstance(each, TimeoutError) for each in told[:50])
    assert told[50] == "seen"
    assert len(calls) <= 2


def test_a_database_that_hangs_makes_the_node_not_ready_and_keeps_nobody_waiting(
    counting: FakeCounting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr("server.http.routes.health.LIMIT_S", 0.05)
    monkeypatch.setattr("server.http.metrics.LIMIT_S", 0.05)

    class Hanging(FakeCounting):
        def parts(self) -> Any:
            go_on.wait(30)
            return super().parts()

        def counts(self) -> Any:
            go_on.wait(30)
            return super().counts()

    async def ask(transport: httpx.ASGITransport) -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            answers = [await client.get(f"/{path}") for path in ("health/ready", "metrics")]
            go_on.set()
            return answers

    with served(tmp_path, Hanging(FakeRecord()), SilentDestination()) as transport:
        ready, metrics = asyncio.run(ask(transport))

    assert ready.status_code == 503
    assert "PostgreSQL has not answered" in ready.json()["checks"]["database"]
    assert "segnode_record_up 0" in metrics.text


def test_nobody_queues_for_a_thread() -> None:
    go_on = threading.Event()

    async def ask() -> list[Any]:
        counter = Counter(2, "two are asked at once: try again")
        calls = [asyncio.create_task(counter.run(lambda: go_on.wait(30))) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.wait([calls[2]])
        go_on.set()
        told = await asyncio.gather(*calls, return_exceptions=True)
        return [*told, await counter.run(lambda: "free again")]

    told = asyncio.run(ask())

    assert told[:2] == [True, True]
    assert isinstance(told[2], TooManyCalls)
    assert told[3] == "free again"
