"""What the agent's tests share: small masks, and a clock that moves only when it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Generator
from itertools import count
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.turns import Turn


@pytest.fixture
def clock() -> Callable[[], float]:
    """Half a second later at every look."""
    ticks = count()
    return lambda: next(ticks) * 0.5


@pytest.fixture
def square() -> Callable[..., NDArray[np.bool_]]:
    """A mask (32, 32) with a filled square: left, top, side in pixels."""

    def make(left: int = 8, top: int = 8, side: int = 10) -> NDArray[np.bool_]:
        mask = np.zeros((32, 32), dtype=np.bool_)
        mask[top : top + side, left : left + side] = True
        return mask

    return make


@pytest.fixture
def run() -> Callable[[Generator[Turn, None, Any]], tuple[list[Turn], Any]]:
    """All turns of a generator, and what it returned."""

    def exhaust(generator: Generator[Turn, None, Any]) -> tuple[list[Turn], Any]:
        turns = []
        while True:
            try:
                turns.append(next(generator))
            except StopIteration as ended:
                return turns, ended.value

    return exhaust
