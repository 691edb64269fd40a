"""MedSAM-Agent's protocol: one tool call a turn, coordinates 0 to 999 of the image.

    <tool_call>{"name":"add_bbox","arguments":{"bbox_2d":[120,80,430,500]}}</tool_call>

A server's native tool calls are put into this form first (agent/language/replies.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.actions import Absent, Action, AddBox, AddPoint, Malformed, NameSlices, Stop
from agent.protocol.call_syntax import CallFault, call_in_text, name_and_arguments, quoted
from agent.protocol.coordinates import (
    IN_THOUSANDTHS,
    THOUSANDTHS,
    CoordinateRange,
    Coordinates,
    box_at,
    box_steps,
    point_at,
    point_steps,
)
from agent.protocol.view import View
from agent.protocol.vocabulary import ABSENT, ADD_BOX, ADD_POINT, LEGACY_POINTS, SIGNS, STOP, TOOLS

_SHAPE = '<tool_call>{"name":"add_bbox","arguments":{"bbox_2d":[x1,y1,x2,y2]}}</tool_call>'
_KNOWN = ", ".join(tool.name for tool in TOOLS)


def parse_tool_call(text: str, view: View, coordinates: CoordinateRange = IN_THOUSANDTHS) -> Action:
    """The action of a reply, in slice pixels; Malformed for anything else. Never raises.

    `coordinates` are the numbers that the model writes on the picture.

    What is repaired and put up with: `call_in_text`.
    """
    try:
        return _action(call_in_text(text, _SHAPE), _Place(view, coordinates))
    except CallFault as fault:
        return Malformed(str(fault))


def render_tool_call(action: Action, view: View) -> str:
    """The call for an action in slice pixels; ValueError for a malformed one.

    Coordinates are rounded to the protocol's 1/999 of the image and kept inside it.
    """
    name, arguments = _call(action, view)
    return tagged_call(name, arguments)


def tagged_call(name: str, arguments: Mapping[str, Any]) -> str:
    """A call in the protocol's tag; "<" is escaped, so that no argument can hold a tag."""
    body = json.dumps({"name": name, "arguments": arguments}).replace("<", "\\u003c")
    return f"<tool_call>{body}</tool_call>"


def _call(action: Action, view: View) -> tuple[str, dict[str, Any]]:
    match action:
        case AddBox(box):
            return ADD_BOX, {"bbox_2d": list(box_steps(view, box, THOUSANDTHS))}
        case AddPoint(point):
            sign = next(word for word, positive in SIGNS.items() if positive == point.positive)
            xy = list(point_steps(view, point, THOUSANDTHS))
            return ADD_POINT, {"point_2d": xy, "point_type": sign}
        case Stop():
            return STOP, {}
        case Absent(reason):
            return ABSENT, {"reason": reason} if reason else {}
        case NameSlices():
            raise ValueError("slices are named for a volume, not on one slice")
        case Malformed():
            raise ValueError("a malformed reply has no words but its own: see Turn.reply")


@dataclass(frozen=True)
class _Place:
    """A picture of a slice, and the numbers that are written on it."""

    view: View
    coordinates: CoordinateRange


def _action(call: object, place: _Place) -> Action:
    name, arguments = name_and_arguments(call, _SHAPE)
    read = _READERS.get(name) if isinstance(name, str) else None
    if read is None:
        raise CallFault(f"there is no function {quoted(name)}; the functions are {_KNOWN}")
    return read(arguments, place)


def _box(arguments: Mapping[str, object], place: _Place) -> Action:
    numbers = _coordinates(arguments, "bbox_2d", 4, place)
    x0, y0, x1, y1 = numbers
    if x1 <= x0 or y1 <= y0:
        raise CallFault(
            f"the box [{x0}, {y0}, {x1}, {y1}] is empty or turned round; "
            "write left, top, right, bottom with left < right and top < bottom"
        )
    sides = place.coordinates.fractions(numbers)
    return _placed(lambda: AddBox(box_at(place.view, sides[0], sides[1], sides[2], sides[3])))


def _point(arguments: Mapping[str, object], place: _Place) -> Action:
    sign = arguments.get("point_type")
    if not isinstance(sign, str) or sign not in SIGNS:
        raise CallFault(f'"point_type" must be "positive" or "negative", not {quoted(sign)}')
    return _click(_coordinates(arguments, "point_2d", 2, place), SIGNS[sign], place)


def _legacy_point(sign: str) -> Callable[[Mapping[str, object], _Place], Action]:
    def read(arguments: Mapping[str, object], place: _Place) -> Action:
        xy = [arguments.get(axis) for axis in ("x", "y")]
        return _click(_checked(xy, '"x" and "y"', place), SIGNS[sign], place)

    return read


def _click(xy: Sequence[float], positive: bool, place: _Place) -> Action:
    u, v = place.coordinates.fractions(xy)
    return _placed(lambda: AddPoint(point_at(place.view, u, v, positive=positive)))


def _absent(arguments: Mapping[str, object], _: _Place) -> Action:
    reason = arguments.get("reason", "")
    if not isinstance(reason, str):
        raise CallFault('"reason" must be text')
    return Absent(reason)


def _placed(place: Callable[[], Action]) -> Action:
    try:
        return place()
    except ValueError as error:
        raise CallFault(str(error)) from error


def _coordinates(
    arguments: Mapping[str, object], key: str, count: int, place: _Place
) -> list[float]:
    numbers = arguments.get(key)
    if not isinstance(numbers, Sequence) or isinstance(numbers, str) or len(numbers) != count:
        kind = "integers" if place.coordinates.whole else "numbers"
        raise CallFault(f'"{key}" must be a list of {count} {kind}, not {quoted(numbers)}')
    return _checked(numbers, f'"{key}"', place)


def _checked(numbers: Sequence[object], where: str, place: _Place) -> list[float]:
    """Coordinates x, y, x, … within the picture."""
    coordinates = place.coordinates
    rule = f"{where} needs {coordinates}"
    checked: list[float] = []
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise CallFault(f"{rule}, not {quoted(number)}")
        checked.append(number)
        if not coordinates.holds(checked):  # NaN and the infinities too
            raise CallFault(f"{rule}, {_MEANT[coordinates.kind]}; not {quoted(number)}")
        if coordinates.whole and number != int(number):
            raise CallFault(f"{rule}, not fractions such as {quoted(number)}")
    return checked


_MEANT: Mapping[Coordinates, str] = {
    Coordinates.THOUSANDTHS: "relative to the image and not in pixels",
    Coordinates.PIXELS: "in pixels of the image",
    Coordinates.FRACTIONS: "of the image and not in pixels",
}

_READERS: Mapping[str, Callable[[Mapping[str, object], _Place], Action]] = {
    ADD_BOX: _box,
    ADD_POINT: _point,
    STOP: lambda _arguments, _place: Stop(),
    ABSENT: _absent,
    **{name: _legacy_point(sign) for name, sign in LEGACY_POINTS.items()},
}
