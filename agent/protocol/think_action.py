"""IBISAgent's protocol: a thought, then one action with coordinates 0 to 1 of the image.

    <think>The mask leaves out the dome.</think>
    <action>Positive Point (0.5000, 0.2500)</action>

The terminating action carries an answer: <action>Terminate</action><answer>…</answer>.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from agent.actions import Absent, Action, AddBox, AddPoint, Malformed, NameSlices, Stop
from agent.protocol.call_syntax import REPLY_CHARS, THOUGHT, CallFault
from agent.protocol.coordinates import DECIMALS, box_at, box_steps, point_at, point_steps
from agent.protocol.view import View
from agent.protocol.vocabulary import TERMINATING

_ACTION = re.compile(r"<action>(.*?)(?:</action>|(?=<action>)|\Z)", re.DOTALL | re.IGNORECASE)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_NUMBERS = re.compile(r"(positive point|negative point|box)\s*\(([^()]*)\)", re.IGNORECASE)
_SHAPE = "<action>Positive Point (0.5000, 0.2500)</action>"
_KNOWN = "Positive Point (x, y), Negative Point (x, y), Box (x1, y1, x2, y2), Terminate, Absent"


def parse_think_action(text: str, view: View) -> Action:
    """The action of a reply, in slice pixels; Malformed for anything else. Never raises."""
    try:
        action_text, answer = action_in_text(text, _SHAPE)
    except CallFault as fault:
        return Malformed(str(fault))
    if action_text.lower() in TERMINATING:
        return Stop()
    if action_text.lower() == "absent":
        return Absent(answer)
    numbers = _NUMBERS.fullmatch(action_text)
    if numbers is None:
        return Malformed(f"'{action_text[:60]}' is no action; the actions are {_KNOWN}")
    return _drawing(numbers.group(1).lower(), numbers.group(2), view)


def action_in_text(text: str, example: str) -> tuple[str, str]:
    """The text of a reply's one action, and of its answer ("" without one).

    CallFault, which shows `example`, for a reply of any other form.
    """
    if len(text) > REPLY_CHARS:
        raise CallFault(f"the reply is {len(text)} characters long; one thought is enough")
    actions = _ACTION.findall(THOUGHT.sub("", text))
    if not actions:
        raise CallFault(f"the reply holds no action; write one as {example}")
    if len(actions) > 1:
        raise CallFault(f"the reply holds {len(actions)} actions; write exactly one a turn")
    answer = _ANSWER.search(text)
    return actions[0].strip(), html.unescape(answer.group(1).strip()) if answer else ""


def render_think_action(action: Action, view: View, reasoning: str = "") -> str:
    """The reply for an action in slice pixels; ValueError for a malformed one.

    Coordinates have four decimals, as in the paper, and are kept inside the image.
    """
    action_text, answer = _words(action, view)
    parts = [f"<think>\n{_plain(reasoning)}\n</think>", f"<action>\n{action_text}\n</action>"]
    return "\n".join([*parts, *([f"<answer>\n{_plain(answer)}\n</answer>"] if answer else [])])


def _drawing(kind: str, listed: str, view: View) -> Action:
    count = 4 if kind == "box" else 2
    try:
        numbers = [float(number) for number in listed.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        return Malformed(f"'{kind}' needs {count} numbers in brackets, not '{listed[:60]}'")
    if not all(0.0 <= number <= 1.0 for number in numbers):
        return Malformed(
            f"({listed[:60]}) lies outside 0 to 1; "
            "coordinates are fractions of the image, not pixels"
        )
    try:
        return _placed(kind, numbers, view)
    except ValueError as error:
        return Malformed(str(error))


def _placed(kind: str, numbers: list[float], view: View) -> Action:
    if kind != "box":
        return AddPoint(point_at(view, numbers[0], numbers[1], positive=kind == "positive point"))
    x0, y0, x1, y1 = numbers
    if x1 <= x0 or y1 <= y0:
        raise ValueError(
            "the box is empty or turned round; write left, top, right, bottom "
            "with left < right and top < bottom"
        )
    return AddBox(box_at(view, x0, y0, x1, y1))


def _words(action: Action, view: View) -> tuple[str, str]:
    """The text of the action and of the answer ("" for none)."""
    match action:
        case AddPoint(point):
            sign = "Positive" if point.positive else "Negative"
            return f"{sign} Point {_bracketed(point_steps(view, point, DECIMALS))}", ""
        case AddBox(box):
            return f"Box {_bracketed(box_steps(view, box, DECIMALS))}", ""
        case Stop():
            return TERMINATING[0].capitalize(), "The mask is right."
        case Absent(reason):
            return "Absent", reason
        case NameSlices():
            raise ValueError("slices are named for a volume, not on one slice")
        case Malformed():
            raise ValueError("a malformed reply has no words but its own: see Turn.reply")


def _bracketed(steps: Iterable[int]) -> str:
    return "(" + ", ".join(f"{step / DECIMALS:.4f}" for step in steps) + ")"


def _plain(text: str) -> str:
    """Free text without anything that could be read as one of the protocol's tags."""
    return html.escape(text, quote=False)
