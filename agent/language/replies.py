"""A model's answer as the text that goes on record, and that text as a message again.

Native calls follow the answer's words in the text protocol's tag, one a line. So a turn's reply
holds the whole answer, and the same conversation can be built from the record alone.
"""

from __future__ import annotations

import json

from agent.language.chat import Answer, Call, Message
from agent.storable_text import storable

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"


def reply_text(answer: Answer) -> str:
    """A whole answer as text that can be stored and sent again: `Turn.reply`."""
    words = [answer.text] if answer.text or not answer.calls else []
    return storable("\n".join([*words, *map(_tagged, answer.calls)]))


def as_message(reply: str, *, native: bool) -> Message:
    """A turn's reply as the assistant's message; with `native` the inverse of `reply_text`, else
    the text unchanged.
    """
    lines, calls = reply.split("\n"), list[Call]()
    while native and lines and (call := _untagged(lines[-1])) is not None:
        calls.insert(0, call)
        lines.pop()
    text = "\n".join(lines)
    return Message("assistant", (text,) if text or not calls else (), tuple(calls))


def _tagged(call: Call) -> str:
    """A call on one line; its arguments as an object where that keeps every character."""
    arguments = _plain_object(call.arguments)
    body = json.dumps(
        {"name": call.name, "arguments": call.arguments if arguments is None else arguments},
        ensure_ascii=False,
    )
    return _OPEN + body.replace("<", "\\u003c") + _CLOSE


def _untagged(line: str) -> Call | None:
    """The call that `_tagged` writes as this line, or None."""
    if not (line.startswith(_OPEN) and line.endswith(_CLOSE)):
        return None
    match _loaded(line.removeprefix(_OPEN).removesuffix(_CLOSE)):
        case {"name": str(name), "arguments": str(text)}:
            call = Call(name, text)
        case {"name": str(name), "arguments": dict(arguments)}:
            call = Call(name, json.dumps(arguments, ensure_ascii=False))
        case _:
            return None
    return call if _tagged(call) == line else None


def _plain_object(text: str) -> object:
    """The JSON object of which `text` is the exact serialisation, or None."""
    value = _loaded(text)
    plain = isinstance(value, dict) and json.dumps(value, ensure_ascii=False) == text
    return value if plain else None


def _loaded(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
