"""MedSAM-Agent's protocol: one tool call a turn, coordinates 0 to 999 of the image.

    <tool_call>{"name":"add_bbox","arguments":{"bbox_2d":[120,80,430,500]}}</tool_call>

A server's native tool calls are put into this form first (agent/language/replies.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.actions import Absent, Action, AddBox, AddPoint, Malformed, NameSlices, Stop
from agent.protocol.call_syntax import CallFault, call_in_text, name_and_arguments, quoted
from agent.protocol.coordinates import THOUSANDTHS, box_at, box_steps, point_at, point_steps
from agent.protocol.view import View
from agent.protocol.vocabulary import ABSENT, ADD_BOX, ADD_POINT, LEGACY_POINTS, SIGNS, STOP, TOOLS

_SHAPE = '<tool_call>{"name":"add_bbox","arguments":{"bbox_2d":[x1,y1,x2,y2]}}</tool_call>'
_KNOWN = ", ".join(tool.name for tool in TOOLS)


def parse_tool_call(text: str, view: View) -> Action:
    """The action of a reply, in slice pixels; Malformed for anything else. Never raises.

    What is repaired and put up with: `call_in_text`.
    """
    try:
        return _action(call_in_text(text, _SHAPE), view)
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


def _action(call: object, view: View) -> Action:
    name, arguments = name_and_arguments(call, _SHAPE)
    read = _READERS.get(name) if isinstance(name, str) else None
    if read is None:
        raise CallFault(f"there is no function {quoted(name)}; the functions are {_KNOWN}")
    return read(arguments, view)


def _box(arguments: Mapping[str, object], view: View) -> Action:
    x0, y0, x1, y1 = _coordinates(arguments, "bbox_2d", 4)
    if x1 <= x0 or y1 <= y0:
        raise CallFault(
            f"the box [{x0}, {y0}, {x1}, {y1}] is empty or turned round; "
            "write left, top, right, bottom with left < right and top < bottom"
        )
    return _placed(lambda: AddBox(box_at(view, *(n / THOUSANDTHS for n in (x0, y0, x1, y1)))))


def _point(arguments: Mapping[str, object], view: View) -> Action:
    sign = arguments.get("point_type")
    if not isinstance(sign, str) or sign not in SIGNS:
        raise CallFault(f'"point_type" must be "positive" or "negative", not {quoted(sign)}')
    return _click(_coordinates(arguments, "point_2d", 2), SIGNS[sign], view)


def _legacy_point(sign: str) -> Callable[[Mapping[str, object], View], Action]:
    def read(arguments: Mapping[str, object], view: View) -> Action:
        xy = [_integer(arguments.get(axis), f'"{axis}"') for axis in ("x", "y")]
        return _click(xy, SIGNS[sign], view)

    return read


def _click(xy: Sequence[int], positive: bool, view: View) -> Action:
    u, v = (number / THOUSANDTHS for number in xy)
    return _placed(lambda: AddPoint(point_at(view, u, v, positive=positive)))


def _absent(arguments: Mapping[str, object], _: View) -> Action:
    reason = arguments.get("reason", "")
    if not isinstance(reason, str):
        raise CallFault('"reason" must be text')
    return Absent(reason)


def _placed(place: Callable[[], Action]) -> Action:
    try:
        return place()
    except ValueError as error:
        raise CallFault(str(error)) from error


def _coordinates(arguments: Mapping[str, object], key: str, count: int) -> list[int]:
    numbers = arguments.get(key)
    if not isinstance(numbers, Sequence) or isinstance(numbers, str) or len(numbers) != count:
        raise CallFault(f'"{key}" must be a list of {count} integers, not {quoted(numbers)}')
    return [_integer(number, f'"{key}"') for number in numbers]


def _integer(number: object, where: str) -> int:
    rule = f"{where} needs integers from 0 to {THOUSANDTHS}"
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise CallFault(f"{rule}, not {quoted(number)}")
    if not 0 <= number <= THOUSANDTHS:  # NaN and the infinities too
        raise CallFault(f"{rule}, relative to the image and not in pixels; not {quoted(number)}")
    if number != int(number):
        raise CallFault(f"{rule}, not fractions such as {quoted(number)}")
    return int(number)


_READERS: Mapping[str, Callable[[Mapping[str, object], View], Action]] = {
    ADD_BOX: _box,
    ADD_POINT: _point,
    STOP: lambda _arguments, _view: Stop(),
    ABSENT: _absent,
    **{name: _legacy_point(sign) for name, sign in LEGACY_POINTS.items()},
}
