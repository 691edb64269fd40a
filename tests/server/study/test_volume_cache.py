"""Volumes ready for the models: as many as requests are worked on, the longest unused given up
first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from server.study.volume_cache import PreparedVolumes


class Volume:
    def __init__(self, passes: int) -> None:
        self.encoder_passes = passes


@pytest.fixture
def made() -> list[str]:
    return []


@pytest.fixture
def get(made: list[str]) -> Callable[[PreparedVolumes, str], Any]:
    def ask(volumes: PreparedVolumes, request_id: str) -> Any:
        def prepare() -> Any:
            made.append(request_id)
            return Volume(len(made))

        return volumes.of(request_id, prepare)

    return ask


def test_one_is_made_once_and_given_up_for_the_next(get: Any, made: list[str]) -> None:
    volumes = PreparedVolumes()

    first = get(volumes, "a")

    assert get(volumes, "a") is first
    get(volumes, "b")
    get(volumes, "a")
    assert made == ["a", "b", "a"]


def test_the_longest_unused_goes_first(get: Any, made: list[str]) -> None:
    volumes = PreparedVolumes(2)

    for request_id in ("a", "b", "a", "c", "a", "b"):
        get(volumes, request_id)

    assert made == ["a", "b", "c", "b"]


def test_room_is_made_before_another_is_loaded(get: Any) -> None:
    volumes = PreparedVolumes()
    get(volumes, "a")
    seen: list[int] = []

    def prepare() -> Any:
        seen.append(volumes.encoder_passes("a"))
        return Volume(0)

    volumes.of("b", prepare)

    assert seen == [0]


def test_passes_are_those_of_what_is_ready(get: Any) -> None:
    volumes = PreparedVolumes()
    get(volumes, "a")

    assert volumes.encoder_passes("a") == 1
    volumes.drop("a")
    volumes.drop("never there")
    assert volumes.encoder_passes("a") == 0
