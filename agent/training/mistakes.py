"""Actions that are wrong on purpose: a model sees what comes of them, and learns the repair."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from agent.actions import Action, AddBox, AddPoint, Stop
from agent.values import Box, Point, PromptKind

_MOVED = (0.6, 1.2)  # of the structure's size: a box beside it
_WIDENED = (0.6, 1.5)  # of its size, on each side: a box about half the organs around
_PART = (0.25, 0.45)  # of its size: a box in it


def mistake(
    truth: NDArray[np.bool_],
    supported_prompts: Collection[PromptKind],
    earlier: Sequence[Action],
    rng: np.random.Generator,
) -> Action:
    """A wrong action on a slice whose structure is `truth` (rows, columns) bool, after the
    `earlier` actions: a box beside the structure, about far more than it, or about a part; a click
    of the wrong sign; a prompt that the segmenter does not understand; the same once more; an end
    before there is a mask.

    Where the structure is absent, a box or a click anywhere.
    """
    makers = _applicable(truth, supported_prompts, earlier)
    return makers[int(rng.integers(len(makers)))](rng)


def _applicable(
    truth: NDArray[np.bool_], supported_prompts: Collection[PromptKind], earlier: Sequence[Action]
) -> list[Callable[[np.random.Generator], Action]]:
    """What makes each of the mistakes that are possible here."""
    makers: list[Callable[[np.random.Generator], Action]] = [
        lambda _: earlier[-1] if earlier else Stop()
    ]
    boxes = (_moved_box, _wide_box, _part_box) if truth.any() else (_any_box,)
    if PromptKind.BOX in supported_prompts:
        makers += [partial(_boxed, box, truth) for box in boxes]
    else:
        makers.append(partial(_boxed, boxes[-1], truth))
    if PromptKind.POINT in supported_prompts:
        makers.append(lambda rng: AddPoint(_misplaced_click(truth, rng)))
    elif truth.any():
        makers.append(lambda rng: AddPoint(_click_inside(truth, rng, positive=True)))
    return makers


def _boxed(
    make: Callable[[NDArray[np.bool_], np.random.Generator], Box],
    truth: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Action:
    return AddBox(make(truth, rng))


def _any_box(truth: NDArray[np.bool_], rng: np.random.Generator) -> Box:
    rows, columns = truth.shape
    (x0, x1), (y0, y1) = (np.sort(rng.uniform(0, size - 1, 2)) for size in (columns, rows))
    return Box(float(x0), float(y0), float(x1), float(y1)).grown(1, (rows, columns))


def _moved_box(truth: NDArray[np.bool_], rng: np.random.Generator) -> Box:
    low, high = _corners(truth)
    angle = rng.uniform(0, 2 * np.pi)
    shift = (high - low + 1) * rng.uniform(*_MOVED) * np.array([np.cos(angle), np.sin(angle)])
    return _cut(low + shift, high + shift, truth)


def _wide_box(truth: NDArray[np.bool_], rng: np.random.Generator) -> Box:
    low, high = _corners(truth)
    size = high - low + 1
    return _cut(
        low - size * rng.uniform(*_WIDENED, 2), high + size * rng.uniform(*_WIDENED, 2), truth
    )


def _part_box(truth: NDArray[np.bool_], rng: np.random.Generator) -> Box:
    low, high = _corners(truth)
    size = high - low + 1
    part = np.maximum(size * rng.uniform(*_PART), 2.0)
    low = low + rng.random(2) * np.maximum(size - part, 0.0)
    return _cut(low, low + part, truth)


def _corners(truth: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The truth's first and last pixel as (x, y)."""
    tight = Box.around(truth)
    return np.array([tight.x0, tight.y0]), np.array([tight.x1, tight.y1])


def _cut(low: NDArray[np.float64], high: NDArray[np.float64], truth: NDArray[np.bool_]) -> Box:
    """The box between two corners (x, y), cut to the image."""
    last = np.array(truth.shape[::-1]) - 1.0
    (x0, y0), (x1, y1) = np.clip(low, 0, last), np.clip(high, 0, last)
    return Box(float(x0), float(y0), float(x1), float(y1))


def _misplaced_click(truth: NDArray[np.bool_], rng: np.random.Generator) -> Point:
    """Outside and positive, or inside and negative."""
    if truth.all() or (truth.any() and rng.random() < 0.5):
        return _click_inside(truth, rng, positive=False)
    return _click_inside(~truth, rng, positive=True)


def _click_inside(region: NDArray[np.bool_], rng: np.random.Generator, *, positive: bool) -> Point:
    row, column = divmod(int(rng.choice(np.flatnonzero(region))), region.shape[1])
    return Point(float(column), float(row), positive)
