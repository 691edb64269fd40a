"""The boxes of a reader who knows the truth: the first one, inexact as a hand is, and corrections
for a segmenter that understands boxes only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.training.clicks import LargerError
from agent.training.reader_settings import ReaderSettings
from agent.values import Box

_OUTWARDS = np.array([-1.0, -1.0, 1.0, 1.0])  # of left, top, right, bottom
_LEAST_PX = 1.0  # a box is jittered by a pixel at least, however small the image


def jittered_box(
    truth: NDArray[np.bool_],
    settings: ReaderSettings,
    rng: np.random.Generator,
    looseness: float = 1.0,
) -> Box:
    """The tight box of `truth` (rows, columns) bool, each side moved by a draw from
    `settings.jitter_px`, scaled to the image, at most `jitter_share` of the structure's side, then
    times `looseness`; cut to the image.

    Most sides move outwards (`outward`). ValueError for an empty truth.
    """
    tight = Box.around(truth)
    scale = max(truth.shape) / settings.jitter_side_px
    least, most = (scale * px for px in settings.jitter_px)
    widths = np.array([tight.x1 - tight.x0 + 1, tight.y1 - tight.y0 + 1])
    bound = np.tile(np.maximum(settings.jitter_share * widths, _LEAST_PX), 2)
    amounts = np.minimum(np.maximum(rng.uniform(least, most, 4), _LEAST_PX), bound) * looseness
    outward = np.where(rng.random(4) < settings.outward, 1.0, -1.0)
    if looseness > 1:
        outward = np.ones(4)  # a loose box is wide; one that cuts the structure is wrong
    return _within(_sides(tight) + amounts * outward * _OUTWARDS, truth.shape)


def corrected_box(
    box: Box, truth: NDArray[np.bool_], error: LargerError, rng: np.random.Generator, attempt: int
) -> Box:
    """`box` with the sides corrected that the `error` lies at; the later the `attempt` (from 0),
    the freer.

    A side is moved to the structure's own edge there, or a little beyond: outwards where what the
    mask leaves out reaches beyond the box, inwards where the mask reaches beyond the structure and
    the box does too. Where the error lies at no such side, as in a hole, all sides are drawn anew
    close round the structure.
    """
    sides, edges = _sides(box), _sides(Box.around(truth))
    region = _sides(Box.around(error.region))
    reaches_beyond = region * _OUTWARDS > (sides if error.missing else edges) * _OUTWARDS
    is_off = (sides - edges) * _OUTWARDS > 0
    chosen = reaches_beyond & (error.missing | is_off)
    if not chosen.any() or attempt:
        chosen = np.ones(4, dtype=np.bool_)
    margins = rng.uniform(0.0, 1.0 + attempt, 4) * max(1.0, max(truth.shape) / 256)
    goal = edges + margins * _OUTWARDS
    return _within(np.where(chosen, goal, sides), truth.shape)


def _sides(box: Box) -> NDArray[np.float64]:
    """Left, top, right, bottom."""
    return np.array([box.x0, box.y0, box.x1, box.y1])


def _within(sides: NDArray[np.float64], shape: tuple[int, ...]) -> Box:
    """A box of these sides (left, top, right, bottom), cut to `shape`; sides that have crossed meet
    in their middle, one pixel apart where there is room.
    """
    rows, columns = shape[:2]
    x0, x1 = _span(float(sides[0]), float(sides[2]), columns)
    y0, y1 = _span(float(sides[1]), float(sides[3]), rows)
    return Box(x0, y0, x1, y1)


def _span(low: float, high: float, size: int) -> tuple[float, float]:
    if high - low < 1:
        low, high = (low + high - 1) / 2, (low + high + 1) / 2
    low, high = min(max(low, 0.0), size - 1.0), min(max(high, 0.0), size - 1.0)
    if high - low < 1:  # a structure of one pixel in a corner
        low, high = max(high - 1, 0.0), min(low + 1, size - 1.0)
    return low, high
