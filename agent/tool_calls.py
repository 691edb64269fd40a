"""MedSAM-Agent's protocol: one tool call a turn, coordinates 0-999 of the image the model sees.

    <tool_call>{"name":"add_bbox","arguments":{"bbox_2d":[120,80,430,500]}}</tool_call>

The same functions come as dictionaries from servers with native tool calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.actions import Absent, Action, AddBox, AddPoint, Malformed, NameSlices, Stop
from agent.relative import THOUSANDTHS, box_at, box_steps, point_at, point_steps
from agent.view import View
from agent.vocabulary import ABSENT, ADD_BOX, ADD_POINT, LEGACY_POINTS, SIGNS, STOP, TOOLS

REPLY_CHARS = 40_000
"""A longer reply is not looked into."""

THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL | re.IGNORECASE)
"""What a model says to itself: no action is looked for there."""

_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|(?=<tool_call>)|\Z)", re.DOTALL)
_BARE_KEY = re.compile(r'([{,]\s*)([A-Za-z_]\w*)"\s*:')
_SHAPE = '<tool_call>{"name":"add_bbox","arguments":{"bbox_2d":[x1,y1,x2,y2]}}</tool_call>'
_KNOWN = ", ".join(tool.name for tool in TOOLS)


class _Fault(Exception):
    """What is wrong with a call; never leaves this module."""


def parse_tool_call(text: str, view: View) -> Action:
    """The action a reply means, in slice pixels; Malformed for anything else. Never raises.

    One repair: a missing quote before a key. A call whose closing tag was cut off is read if its JSON is whole.
    """
    if len(text) > REPLY_CHARS:
        return Malformed(f"the reply is {len(text)} characters long; one tool call is enough")
    calls = _CALL.findall(THOUGHT.sub("", text))
    if not calls:
        return Malformed(f"the reply holds no tool call; write one as {_SHAPE}")
    if len(calls) > 1:
        return Malformed(f"the reply holds {len(calls)} tool calls; make exactly one a turn")
    try:
        return _action(_json(calls[0]), view)
    except _Fault as fault:
        return Malformed(str(fault))


def parse_native_calls(calls: Sequence[object], view: View) -> Action:
    """The action of a server's native tool calls; as `parse_tool_call` otherwise.

    A call is {"name", "arguments"} or {"function": {"name", "arguments"}}; arguments may be JSON text.
    """
    if len(calls) != 1:
        return Malformed(f"there are {len(calls)} tool calls; make exactly one a turn")
    call = calls[0]
    if isinstance(call, Mapping) and isinstance(call.get("function"), Mapping):
        call = call["function"]
    try:
        return _action(call, view)
    except _Fault as fault:
        return Malformed(str(fault))


def render_tool_call(action: Action, view: View) -> str:
    """An action in slice pixels as the call that means it; ValueError for a malformed one.

    Coordinates are rounded to the protocol's 1/999 of the image and kept inside it.
    """
    name, arguments = _call(action, view)
    # "<" is escaped so that no reason can hold a tag of the protocol
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


def _json(text: str) -> object:
    try:
        return _loads(text)
    except (ValueError, RecursionError):
        repaired = _BARE_KEY.sub(r'\1"\2":', text)
    try:
        return _loads(repaired)
    except (ValueError, RecursionError) as error:
        raise _Fault(f"the tool call is no whole JSON object; write {_SHAPE}") from error


def _loads(text: str) -> object:
    return json.loads(text, parse_constant=_no_number)


def _no_number(word: str) -> float:
    raise _Fault(f"{word} is no coordinate; coordinates are integers from 0 to {THOUSANDTHS}")


def _action(call: object, view: View) -> Action:
    if not isinstance(call, Mapping):
        raise _Fault(f'a tool call is an object with "name" and "arguments", as {_SHAPE}')
    name, arguments = call.get("name"), call.get("arguments", {})
    if isinstance(arguments, str):
        arguments = _json(arguments or "{}")
    if not isinstance(arguments, Mapping):
        raise _Fault('"arguments" must be an object')
    read = _READERS.get(name) if isinstance(name, str) else None
    if read is None:
        raise _Fault(f"there is no function {_quoted(name)}; the functions are {_KNOWN}")
    return read(arguments, view)


def _box(arguments: Mapping[str, object], view: View) -> Action:
    x0, y0, x1, y1 = _coordinates(arguments, "bbox_2d", 4)
    if x1 <= x0 or y1 <= y0:
        raise _Fault(
            f"the box [{x0}, {y0}, {x1}, {y1}] is empty or turned round; "
            "write left, top, right, bottom with left < right and top < bottom"
        )
    return _placed(lambda: AddBox(box_at(view, *(n / THOUSANDTHS for n in (x0, y0, x1, y1)))))


def _point(arguments: Mapping[str, object], view: View) -> Action:
    sign = arguments.get("point_type")
    if not isinstance(sign, str) or sign not in SIGNS:
        raise _Fault(f'"point_type" must be "positive" or "negative", not {_quoted(sign)}')
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
        raise _Fault('"reason" must be text')
    return Absent(reason)


def _placed(place: Callable[[], Action]) -> Action:
    try:
        return place()
    except ValueError as error:
        raise _Fault(str(error)) from error


def _coordinates(arguments: Mapping[str, object], key: str, count: int) -> list[int]:
    numbers = arguments.get(key)
    if not isinstance(numbers, Sequence) or isinstance(numbers, str) or len(numbers) != count:
        raise _Fault(f'"{key}" must be a list of {count} integers, not {_quoted(numbers)}')
    return [_integer(number, f'"{key}"') for number in numbers]


def _integer(number: object, where: str) -> int:
    wanted = f"{where} needs integers from 0 to {THOUSANDTHS}"
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise _Fault(f"{wanted}, not {_quoted(number)}")
    if not 0 <= number <= THOUSANDTHS:  # also what is not a number, and the infinities
        raise _Fault(f"{wanted}, relative to the image and not in pixels; not {_quoted(number)}")
    if number != int(number):
        raise _Fault(f"{wanted}, not fractions such as {_quoted(number)}")
    return int(number)


def _quoted(value: object) -> str:
    """What a model wrote, short enough for an observation."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a bottomless list
        return f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


_READERS: Mapping[str, Callable[[Mapping[str, object], View], Action]] = {
    ADD_BOX: _box,
    ADD_POINT: _point,
    STOP: lambda _arguments, _view: Stop(),
    ABSENT: _absent,
    **{name: _legacy_point(sign) for name, sign in LEGACY_POINTS.items()},
}
