"""Actions on a slice of 32 x 32 for the tests of an episode."""

from __future__ import annotations

from collections.abc import Iterable

from agent.actions import AddBox, AddPoint
from agent.turns import Turn
from agent.values import Box, Point

BOX = AddBox(Box(6, 6, 20, 20))
WIDER = AddBox(Box(4, 4, 24, 24))
WIDEST = AddBox(Box(2, 2, 28, 28))
CLICK = AddPoint(Point(10, 10))


def outcomes(turns: Iterable[Turn]) -> list[str]:
    return [str(turn.outcome) for turn in turns]
