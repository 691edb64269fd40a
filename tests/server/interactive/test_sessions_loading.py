"""Loading a segmenter takes as long as it takes, and nobody else waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from agent.fakes import FakeSegmenter
from models.entries import Needs
from models.errors import WeightsMissing
from models.runtime.memory import MemoryBudget
from models.serving.served import served
from server.interactive.app import WAITING_FOR_A_SEGMENTER
from server.interactive.bounds import Bounds
from server.interactive.drawing import SegmenterService
from server.interactive.encodings import Encodings
from server.interactive.memory import MemoryAccount
from server.interactive.service import Service, open_service


class Loads:
    """Opens "quick" at once and "slow" when a test says so; `faults` are raised first, if there are
    any.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.go_on = threading.Event()
        self.faults: list[Exception] = []

    def open(self, name: str, encodings: Encodings, account: MemoryAccount) -> SegmenterService:
        self.names.append(name)
        if name == "slow":
            self.go_on.wait(20)
        if self.faults:
            raise self.faults.pop()
        segmenter = served(FakeSegmenter(), MemoryBudget(10**9), Needs(1, 1))
        return SegmenterService(segmenter, encodings, account, 10**6)


@pytest.fixture
def loads() -> Iterator[Loads]:
    loads = Loads()
    yield loads
    loads.go_on.set()


@pytest.fixture
def service(loads: Loads) -> Service:
    return open_service(Bounds(), ["quick", "slow"], loads.open, lambda: 0.0)


@pytest.fixture
def api(make_client: Callable[..., TestClient], service: Service) -> Iterator[TestClient]:
    """One client, so one event loop, for many threads."""
    with make_client(service) as client:
        yield client


def ask(api: TestClient, image: str, segmenter: str) -> int:
    return int(api.post("sessions", json={"image": image, "segmenter": segmenter}).status_code)


def test_others_are_served_while_a_segmenter_is_loaded(
    api: TestClient, service: Service, image: str, loads: Loads, until: Callable[..., Any]
) -> None:
    # Arrange: the first is there, as at the start; more ask for the slow one than there are threads
    # for calls
    service.segmenters.get()
    asking = 60
    with ThreadPoolExecutor(asking) as pool:
        slow = [pool.submit(ask, api, image, "slow") for _ in range(asking)]
        until(lambda: sum(each.done() for each in slow) == asking - WAITING_FOR_A_SEGMENTER)

        # Act
        quick, health = ask(api, image, "quick"), api.get("health").status_code
        loads.go_on.set()
        codes = [each.result() for each in slow]

    # Assert
    assert (quick, health) == (201, 200)
    assert codes.count(201) == WAITING_FOR_A_SEGMENTER
    assert codes.count(429) == asking - WAITING_FOR_A_SEGMENTER
    assert loads.names == ["quick", "slow"]


def test_who_asks_for_the_same_one_at_once_loads_it_once(service: Service, loads: Loads) -> None:
    asked = [service.segmenters.opened("slow") for _ in range(20)]
    loads.go_on.set()

    assert len({id(each.result(20)) for each in asked}) == 1
    assert loads.names == ["slow"]


def test_who_gives_up_waiting_spoils_it_for_nobody(service: Service, loads: Loads) -> None:
    asked = service.segmenters.opened("slow")

    assert not asked.cancel()
    loads.go_on.set()
    assert asked.result(20).name == "fake"


def test_what_cannot_be_loaded_is_told_to_all_and_tried_again(
    api: TestClient, image: str, loads: Loads
) -> None:
    loads.go_on.set()
    loads.faults.append(WeightsMissing("slow", Path("slow.pt"), "Fetch them"))

    first, second = (ask(api, image, "slow") for _ in range(2))

    assert (first, second) == (422, 201)


def test_a_name_that_nobody_knows_loads_nothing(api: TestClient, image: str, loads: Loads) -> None:
    assert ask(api, image, "sam99") == 422
    assert loads.names == []
