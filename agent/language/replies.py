"""A model's answer as the words that go on record, and those words as the message that is as_message.

Native calls are written behind the words in the text protocol's tag, one a line, so that a turn's
reply holds all that was said, whoever parsed it, and the same conversation can be built from the
record alone.
"""

from __future__ import annotations

import json

from agent.language.chat import Answer, Call, Message
from agent.storable_text import storable

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"


def reply_text(answer: Answer) -> str:
    """All that an answer says, as text that can be kept and sent again: `Turn.reply`."""
    words = [answer.text] if answer.text or not answer.calls else []
    return storable("\n".join([*words, *map(_tagged, answer.calls)]))


def as_message(said: str, *, native: bool) -> Message:
    """The assistant's message that was `said`; with `native` the inverse of `reply_text`, else the text
    as it is.
    """
    lines, calls = said.split("\n"), list[Call]()
    while native and lines and (call := _untagged(lines[-1])) is not None:
        calls.insert(0, call)
        lines.pop()
    text = "\n".join(lines)
    return Message("assistant", (text,) if text or not calls else (), tuple(calls))


def _tagged(call: Call) -> str:
    """A call on one line. Its arguments are an object where that keeps every character, else
    text.
    """
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
    """The JSON object that is written exactly so, or None."""
    value = _loaded(text)
    plain = isinstance(value, dict) and json.dumps(value, ensure_ascii=False) == text
    return value if plain else None


def _loaded(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
