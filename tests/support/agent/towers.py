"""A liver and a spleen as two towers of different height, and policies that outline them."""

from __future__ import annotations

import numpy as np

from agent.actions import AddBox, Stop
from agent.values import Box, Target

DEPTH, SIDE = 12, 48
LIVER, SPLEEN = Target("liver", "liver"), Target("spleen", "spleen")


def tower() -> np.ndarray:
    """A bright square through slices 2 to 9, a darker one through 4 to 7, beside each other."""
    volume = np.zeros((DEPTH, SIDE, SIDE), dtype=np.float32)
    volume[2:10, 8:20, 6:18] = 0.8
    volume[4:8, 8:20, 28:40] = 0.5
    return volume


def boxed(left: int) -> list[AddBox | Stop]:
    return [AddBox(Box(left, 8, left + 11, 19)), Stop()]
