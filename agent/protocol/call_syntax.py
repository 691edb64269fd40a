"""The syntax of a function call in a model's reply: one call, repaired once, name and arguments.

What a call means is decided elsewhere: on a slice in agent/protocol/tool_calls.py, about a volume
in agent/protocol/slice_replies.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

REPLY_CHARS = 40_000
"""A longer reply is not parsed."""

THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL | re.IGNORECASE)
"""A model's reasoning: no action is looked for there."""

_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|(?=<tool_call>)|\Z)", re.DOTALL)
_BARE = re.compile(r"(?:```(?:json)?\s*)?(\{.*\})\s*(?:```)?", re.DOTALL)
_BARE_KEY = re.compile(r'([{,]\s*)([A-Za-z_]\w*)"\s*:')


class CallFault(Exception):
    """What is wrong with a call, in words for the model; never leaves the parsers."""


def call_in_text(text: str, example: str) -> object:
    """The one call in a reply, as JSON; CallFault, which shows `example`, when there is none.

    One repair: a missing quote before a key. A call whose closing tag was cut off is parsed if its
    JSON is whole, and so is a reply that is nothing but the call without its tags.
    """
    if len(text) > REPLY_CHARS:
        raise CallFault(f"the reply is {len(text)} characters long; one tool call is enough")
    outside_thoughts = THOUGHT.sub("", text)
    calls = _CALL.findall(outside_thoughts)
    bare = None if calls else _BARE.fullmatch(outside_thoughts.strip())
    if bare is not None:
        calls = [bare.group(1)]
    if not calls:
        raise CallFault(f"the reply holds no tool call; write one as {example}")
    if len(calls) > 1:
        raise CallFault(f"the reply holds {len(calls)} tool calls; make exactly one a turn")
    return read_json(calls[0], example)


def name_and_arguments(call: object, example: str) -> tuple[object, Mapping[str, object]]:
    """A call's function name and arguments; the arguments may be JSON text.

    CallFault, which shows `example`, for anything else.
    """
    if not isinstance(call, Mapping):
        raise CallFault(f'a tool call is an object with "name" and "arguments", as {example}')
    name, arguments = call.get("name"), call.get("arguments", {})
    if isinstance(arguments, str):
        arguments = read_json(arguments or "{}", example)
    if not isinstance(arguments, Mapping):
        raise CallFault('"arguments" must be an object')
    return name, arguments


def read_json(text: str, example: str) -> object:
    """JSON, repaired once where that helps; CallFault, which shows `example`, otherwise."""
    try:
        return _loads(text)
    except (ValueError, RecursionError):
        repaired = _BARE_KEY.sub(r'\1"\2":', text)
    try:
        return _loads(repaired)
    except (ValueError, RecursionError) as error:
        raise CallFault(f"the tool call is no whole JSON object; write {example}") from error


def quoted(value: object) -> str:
    """A value as the model wrote it, short enough for an observation."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a bottomless list
        return f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _loads(text: str) -> object:
    return json.loads(text, parse_constant=_no_number)


def _no_number(word: str) -> float:
    raise CallFault(f"{word} is no coordinate; coordinates are integers from 0 to 999")
