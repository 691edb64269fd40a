"""Replies about a whole volume, in either protocol: slice numbers, or that the target is absent.

    <tool_call>{"name":"name_slices","arguments":{"slices":[12,30]}}</tool_call>
    <think>…</think><action>Slices (12, 30)</action>

No reply raises: one that is no answer is `Malformed`, and its fault says what a right one would be.
Slices are numbered from zero, as on the contact sheet and in the trace.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from agent.actions import Absent, Malformed, NameSlices, Stop
from agent.protocol.call_syntax import CallFault, call_in_text, name_and_arguments, quoted
from agent.protocol.dialects import Dialect
from agent.protocol.think_action import action_in_text
from agent.protocol.tool_calls import tagged_call
from agent.protocol.vocabulary import ABSENT, NAME_SLICES, STOP, TERMINATING

VolumeAnswer = NameSlices | Absent | Stop | Malformed

_SLICES = re.compile(r"slices?\s*\(([^()]*)\)", re.IGNORECASE)


def parse_localisation(text: str, depth: int, dialect: Dialect) -> NameSlices | Absent | Malformed:
    """The answer to where the target is in a volume of `depth` slices: at least one, or absent."""
    answer = _parsed(text, depth, dialect)
    if isinstance(answer, Stop) or (isinstance(answer, NameSlices) and not answer.slices):
        return Malformed("name the slices that show the target best, or say that it is absent")
    return answer


def parse_assessment(text: str, depth: int, dialect: Dialect) -> NameSlices | Malformed:
    """The slices of an object's outline that a reply calls wrong, the worst first; () for none."""
    answer = _parsed(text, depth, dialect)
    if isinstance(answer, Absent):
        return Malformed("name the slices whose outline is wrong, or say that all are right")
    return NameSlices(()) if isinstance(answer, Stop) else answer


def render_naming(answer: NameSlices | Absent | Stop, dialect: Dialect, reasoning: str = "") -> str:
    """The reply for `answer`, with `reasoning` before it; the inverse of the parsers."""
    if dialect is Dialect.TOOL_CALL:
        call = _rendered_call(answer)
        return f"{reasoning.replace('<', '&lt;')}\n{call}" if reasoning else call
    action_text, reason = _rendered_action(answer)
    parts = [
        f"<think>\n{html.escape(reasoning, quote=False)}\n</think>",
        f"<action>\n{action_text}\n</action>",
    ]
    if reason:
        parts.append(f"<answer>\n{html.escape(reason, quote=False)}\n</answer>")
    return "\n".join(parts)


def _parsed(text: str, depth: int, dialect: Dialect) -> VolumeAnswer:
    try:
        return (_from_call if dialect is Dialect.TOOL_CALL else _from_action)(text, depth)
    except CallFault as fault:
        return Malformed(str(fault))


def _from_call(text: str, depth: int) -> VolumeAnswer:
    shape = tagged_call(NAME_SLICES, {"slices": _some_slices(depth)})
    name, arguments = name_and_arguments(call_in_text(text, shape), shape)
    if name == STOP:
        return Stop()
    if name == ABSENT:
        reason = arguments.get("reason", "")
        return Absent(reason if isinstance(reason, str) else quoted(reason))
    if name != NAME_SLICES:
        raise CallFault(f"{quoted(name)} is not for a whole volume; call {NAME_SLICES} as {shape}")
    slices = arguments.get("slices")
    if not isinstance(slices, Sequence) or isinstance(slices, str):
        slices = [slices]  # one number without its brackets
    return _within(slices, depth)


def _from_action(text: str, depth: int) -> VolumeAnswer:
    shape = f"<action>Slices ({', '.join(map(str, _some_slices(depth)))})</action>"
    action_text, reason = action_in_text(text, shape)
    if action_text.lower() in TERMINATING:
        return Stop()
    if action_text.lower() == "absent":
        return Absent(reason)
    slice_list = _SLICES.fullmatch(action_text)
    if slice_list is None:
        raise CallFault(f"'{action_text[:60]}' names no slices; write {shape}")
    words = [word.strip() for word in slice_list.group(1).split(",")]
    return _within([int(word) if _is_number(word) else word for word in words if word], depth)


def _some_slices(depth: int) -> list[int]:
    """An example of slices that the volume has."""
    return sorted({depth // 3, 2 * depth // 3})


def _is_number(word: str) -> bool:
    return re.fullmatch(r"\d{1,9}", word, re.ASCII) is not None


def _within(numbers: Sequence[object], depth: int) -> NameSlices:
    return NameSlices(tuple(dict.fromkeys(_slice(number, depth) for number in numbers)))


def _slice(number: object, depth: int) -> int:
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < depth:
        return number
    raise CallFault(
        f"{quoted(number)} is no slice of this volume; its slices are numbered 0 to {depth - 1}"
    )


def _rendered_call(answer: NameSlices | Absent | Stop) -> str:
    match answer:
        case NameSlices(slices):
            return tagged_call(NAME_SLICES, {"slices": list(slices)})
        case Absent(reason):
            return tagged_call(ABSENT, {"reason": reason} if reason else {})
        case Stop():
            return tagged_call(STOP, {})


def _rendered_action(answer: NameSlices | Absent | Stop) -> tuple[str, str]:
    match answer:
        case NameSlices(slices):
            return f"Slices ({', '.join(map(str, slices))})", ""
        case Absent(reason):
            return "Absent", reason
        case Stop():
            return TERMINATING[0].capitalize(), "All outlines are right."
