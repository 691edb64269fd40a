"""Starts are taken in an order that follows from the number of the pass."""

from __future__ import annotations

import pytest

pytest.importorskip("trl")

from models.training.running.start_order import StartOrder


def orders(passes: list[int]) -> list[list[int]]:
    """The order of seven starts, one of them a step, in passes of these numbers of one process."""
    over = iter(passes)
    order = StartOrder(range(7), 1, 1, seed=3, passes=lambda: next(over))
    return [list(order) for _ in passes]


def test_each_pass_has_its_own_order_of_all_starts() -> None:
    first, second, third = orders([0, 1, 2])

    assert sorted(first) == sorted(second) == sorted(third) == list(range(7))
    assert len({tuple(order) for order in (first, second, third)}) == 3


def test_a_process_that_begins_with_a_later_pass_has_that_ones_order() -> None:
    assert orders([2, 3]) == orders([0, 1, 2, 3])[2:]


def test_starts_are_repeated_as_trl_wants_them() -> None:
    order = list(StartOrder(range(4), 2, 2, 3, seed=0, passes=lambda: 0))

    assert len(order) == 4 * 2 * 3
    assert order[:4] == order[4:8] == order[8:12]
    assert order[0] == order[1] != order[2] == order[3]
