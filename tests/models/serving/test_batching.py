"""Prompts of many threads in few calls; each gets its own answer, and a bad one fails alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from agent.errors import SegmenterFailed
from agent.fakes import FakeEncoding, FakeSegmenter
from agent.ports import PromptedSlice
from agent.values import Box, Point, Prompts, Segmentation
from models.serving.batching import Batcher

LIMIT_S = 20.0


def asks(count: int) -> list[PromptedSlice]:
    """Different boxes on different slices."""
    made = []
    for n in range(count):
        image = np.zeros((24, 24), dtype=np.float32)
        image[2:20, 2:20] = (n % 7 + 1) / 8
        made.append(PromptedSlice(FakeEncoding(image), Prompts(box=Box(2, 2, 5 + n % 10, 9))))
    return made


class Gate(FakeSegmenter):
    """Holds its first call until it is let go; keeps the sizes of all calls."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.entered, self.released = threading.Event(), threading.Event()

    def segment_many(self, asked: Sequence[PromptedSlice]) -> list[Segmentation]:
        self.sizes.append(len(asked))
        if not self.entered.is_set():
            self.entered.set()
            assert self.released.wait(LIMIT_S)
        if any(ask.prompts.text == "bad" for ask in asked):
            raise SegmenterFailed("not this one")
        return super().segment_many(asked)


def answered_while_one_is_drawn(
    gate: Gate, batcher: Batcher, wanted: Sequence[PromptedSlice]
) -> list[Any]:
    """The futures of `wanted`, each asked by a thread of its own while a first prompt is being
    drawn.
    """
    with ThreadPoolExecutor(len(wanted) + 1) as pool:
        first = pool.submit(batcher.segment_many, asks(1))
        assert gate.entered.wait(LIMIT_S)
        futures = [pool.submit(batcher.segment_many, [ask]) for ask in wanted]
        while len(batcher._queue) < len(wanted):
            threading.Event().wait(0.001)
        gate.released.set()
        first.result(LIMIT_S)
    return futures


def test_a_single_caller_is_served_at_once() -> None:
    plain, wanted = FakeSegmenter(), asks(3)
    batcher = Batcher(plain.segment_many)

    answers = batcher.segment_many(wanted)

    for answer, expected in zip(answers, plain.segment_many(wanted), strict=True):
        assert np.array_equal(answer.mask, expected.mask)
    assert batcher.segment_many([]) == []


def test_those_who_come_meanwhile_are_drawn_together() -> None:
    gate, wanted = Gate(), asks(9)
    batcher = Batcher(gate.segment_many, most=6)

    futures = answered_while_one_is_drawn(gate, batcher, wanted)

    assert gate.sizes == [1, 6, 3]
    for future, expected in zip(futures, FakeSegmenter().segment_many(wanted), strict=True):
        (answer,) = future.result()
        assert np.array_equal(answer.mask, expected.mask)


def test_a_bad_prompt_fails_alone() -> None:
    gate, wanted = Gate(), asks(3)
    wanted[1] = PromptedSlice(wanted[1].encoding, Prompts(points=(Point(3, 3),), text="bad"))
    batcher = Batcher(gate.segment_many)

    futures = answered_while_one_is_drawn(gate, batcher, wanted)

    assert futures[0].result()[0].mask.any()
    assert futures[2].result()[0].mask.any()
    with pytest.raises(SegmenterFailed, match="not this one"):
        futures[1].result()
    assert batcher.segment_many(asks(1))[0].mask.any()


def test_many_threads_each_get_their_own() -> None:
    plain, wanted = FakeSegmenter(), asks(40)
    expected = plain.segment_many(wanted)
    batcher = Batcher(plain.segment_many, most=7)

    with ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda ask: batcher.segment_many([ask])[0], wanted * 5))

    for answer, right in zip(got, expected * 5, strict=True):
        assert np.array_equal(answer.mask, right.mask)


def test_a_process_that_is_told_to_stop_wakes_everybody() -> None:
    def stopped(_: Sequence[PromptedSlice]) -> list[Segmentation]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Batcher(stopped).segment_many(asks(2))


def test_who_has_been_answered_does_not_draw_for_others() -> None:
    answered, sizes = threading.Event(), []
    gate = Gate()

    def draw(asked: Sequence[PromptedSlice]) -> list[Segmentation]:
        sizes.append(len(asked))
        if len(sizes) > 1:
            assert answered.wait(LIMIT_S)  # the second run waits for the first caller to have left
        return gate.segment_many(asked)

    batcher = Batcher(draw)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(batcher.segment_many, asks(1))
        assert gate.entered.wait(LIMIT_S)
        later = [pool.submit(batcher.segment_many, asks(1)) for _ in range(2)]
        while len(batcher._queue) < 2:
            threading.Event().wait(0.001)
        gate.released.set()
        first.result(LIMIT_S)
        answered.set()
        assert all(each.result(LIMIT_S)[0].mask.any() for each in later)

    assert sizes == [1, 2]
