"""How actions become prompts: which are refused, which replace or join earlier prompts."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

from agent.actions import Action, AddBox, AddPoint, Malformed, action_record
from agent.values import Box, Point, PromptKind, Prompts

_EDGE_PX = 0.5  # a pixel's area reaches this far beyond its centre


def normalise_action(action: Action) -> Action:
    """`action` for the record: plain numbers; Malformed for a click without finite coordinates."""
    match action:
        case AddBox(Box(x0, y0, x1, y1)):
            return AddBox(Box(float(x0), float(y0), float(x1), float(y1)))
        case AddPoint(Point(x, y, positive)) if math.isfinite(x) and math.isfinite(y):
            return AddPoint(Point(float(x), float(y), bool(positive)))
        case AddPoint():
            return Malformed("the click has no finite coordinates; give x and y as numbers")
        case _:
            return action


def why_invalid(
    action: AddBox | AddPoint, supported_prompts: Collection[PromptKind], shape: tuple[int, int]
) -> str | None:
    """Why an action cannot be run on a slice of `shape` (rows, columns); None if it can."""
    kind = PromptKind.BOX if isinstance(action, AddBox) else PromptKind.POINT
    if kind not in supported_prompts:
        drawing_kinds = (PromptKind.BOX, PromptKind.POINT)
        usable = " and ".join(k for k in drawing_kinds if k in supported_prompts)
        return f"this segmenter does not understand a {kind}; use {usable or 'no drawing action'}"
    rows, columns = shape
    if not all(_inside(x, columns) and _inside(y, rows) for x, y in _corners(action)):
        return (
            f"the {kind} leaves the image; x runs from 0 to {columns - 1}, y from 0 to {rows - 1}"
        )
    return None


def apply_action(prompts: Prompts, action: AddBox | AddPoint, undo_px: float) -> Prompts:
    """`prompts` with one more action: a box replaces the box, a click joins the clicks.

    A click removes earlier clicks of the opposite sign within `undo_px`.
    """
    if isinstance(action, AddBox):
        return replace(prompts, box=action.box)
    click = action.point
    remaining = (p for p in prompts.points if not _removes(click, p, undo_px))
    return replace(prompts, points=(*remaining, click))


def same_action(action: Action, other: Action) -> bool:
    """Whether two actions are equal to the nearest half pixel."""
    return _rounded(action) == _rounded(other)


def _removes(click: Point, earlier: Point, undo_px: float) -> bool:
    distance_px = math.hypot(click.x - earlier.x, click.y - earlier.y)
    return click.positive != earlier.positive and distance_px <= undo_px


def _inside(value: float, size: int) -> bool:
    return -_EDGE_PX <= value <= size - 1 + _EDGE_PX


def _corners(action: AddBox | AddPoint) -> tuple[tuple[float, float], ...]:
    match action:
        case AddBox(Box(x0, y0, x1, y1)):
            return (x0, y0), (x1, y1)
        case AddPoint(Point(x, y)):
            return ((x, y),)


def _rounded(action: Action) -> dict[str, object]:
    record = action_record(action)
    return {
        key: [_half_pixels(number) for number in value] if isinstance(value, list) else value
        for key, value in record.items()
    }


def _half_pixels(number: float) -> float:
    # a float of 2**52 or more has no fraction, and twice the largest would be infinite
    return round(2 * number) if abs(number) < 2.0**52 else number
