"""What the agent's tests share: small masks, and a clock that moves only when it is looked at."""

from __future__ import annotations

from collections.abc import Generator
from itertools import count
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.fixture_types import Clock, DrawSquare, RunToEnd


@pytest.fixture
def clock() -> Clock:
    """Half a second later at every look."""
    ticks = count()
    return lambda: next(ticks) * 0.5


@pytest.fixture
def square() -> DrawSquare:
    """A mask (32, 32) with a filled square: left, top, side in pixels."""

    def make(left: int = 8, top: int = 8, side: int = 10) -> NDArray[np.bool_]:
        mask = np.zeros((32, 32), dtype=np.bool_)
        mask[top : top + side, left : left + side] = True
        return mask

    return make


@pytest.fixture
def run() -> RunToEnd:
    """All turns of a generator, and what it returned."""

    def exhaust(generator: Generator[Any, None, Any]) -> tuple[list[Any], Any]:
        turns = []
        while True:
            try:
                turns.append(next(generator))
            except StopIteration as ended:
                return turns, ended.value

    return exhaust
