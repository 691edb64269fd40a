"""OpenAI's chat completions on the wire: a conversation as the body of a request, a reply's body as
an answer.

Written for what vLLM, SGLang and OpenAI's own service have in common; where one of them refuses a
parameter, `adapted` says what to do without it. Nothing here connects to anything.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from agent.language.chat import Answer, Call, Conversation, Message, Picture, native_calls
from agent.storable_text import storable
from agent.turns import Usage

CALL_ANSWERED = "What came of it follows."
"""What every native call of the history is answered with: the API wants an answer before the next
message.
"""

_FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MOST_TOKENS = 10**9  # no reply takes more, and a price can be put on it
_PNG_EFFORT = 3  # of 9: larger by a few per cent than the smallest, in a third of the time


class NoReply(ValueError):
    """A body that holds no answer; the message says what is wrong with it, never what it holds."""


@dataclass(frozen=True)
class ServerDialect:
    """How one server wants to be asked.

    `model` the name it knows; `native_tools` whether functions are offered beside the text;
    `renamed` parameters by their new names, `dropped` parameters that it does not take.
    """

    model: str
    native_tools: bool = True
    renamed: Mapping[str, str] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost in the site's currency, read and written."""

    per_million_input: float = 0.0
    per_million_output: float = 0.0

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """The cost of one reply."""
        input_cost = input_tokens * self.per_million_input
        return (input_cost + output_tokens * self.per_million_output) / 1_000_000


def data_url(picture: Picture) -> str:
    """A picture as the data URL of a PNG, the same for the same pixels."""
    buffer = io.BytesIO()
    Image.fromarray(picture.pixels).save(buffer, "PNG", compress_level=_PNG_EFFORT)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def request_body(
    conversation: Conversation,
    manner: ServerDialect,
    *,
    temperature: float,
    max_new_tokens: int,
    url_of: Callable[[Picture], str] = data_url,
) -> dict[str, Any]:
    """The JSON of a request; what two conversations have in common is the same to the letter in
    both.
    """
    body: dict[str, Any] = {
        "model": manner.model,
        "messages": _messages(conversation.messages, manner.native_tools, url_of),
        "temperature": temperature,
        "max_tokens": max_new_tokens,
    }
    if conversation.tools and manner.native_tools:
        body |= {
            "tools": [tool.schema for tool in conversation.tools],
            "tool_choice": "auto",
            "parallel_tool_calls": False,
        }
    parameters = {key: value for key, value in body.items() if key not in manner.dropped}
    return {manner.renamed.get(key, key): value for key, value in parameters.items()}


def adapted(manner: ServerDialect, refusal: str) -> ServerDialect | None:
    """How to ask after a server has refused a request (400) with these words; None when they name
    nothing we can change.
    """
    if "max_completion_tokens" in refusal and "max_tokens" not in manner.renamed:
        renamed = {**manner.renamed, "max_tokens": "max_completion_tokens"}
        return ServerDialect(manner.model, manner.native_tools, renamed, manner.dropped)
    for parameter in ("parallel_tool_calls", "temperature"):
        if parameter in refusal and parameter not in manner.dropped:
            dropped = manner.dropped | {parameter}
            return ServerDialect(manner.model, manner.native_tools, manner.renamed, dropped)
    return None


def answer_of(body: bytes, model: str, prices: Prices) -> Answer:
    """The answer in a reply's body; `model` names who gave it where the body does not. NoReply for
    anything else.

    A reply that was cut off at its longest is an answer; whether it still means something the
    parser will say.
    """
    reply = _object(body)
    choices = reply.get("choices")
    if not isinstance(choices, Sequence) or isinstance(choices, str) or not choices:
        raise NoReply("it holds no choices")
    message = choices[0].get("message") if isinstance(choices[0], Mapping) else None
    if not isinstance(message, Mapping):
        raise NoReply("its first choice holds no message")
    entries = message.get("tool_calls") or ()
    calls = (
        entries if isinstance(entries, Sequence) and not isinstance(entries, str) else (entries,)
    )
    return Answer(_text(message), native_calls(calls), _usage(reply, model, prices))


def refusal_of(body: bytes) -> str:
    """Why a server refused a request, in its own words (OpenAI's error object, or text), "" when it
    gave none.
    """
    try:
        reply = _object(body)
    except NoReply:
        return body.decode("utf-8", "replace")
    error = reply.get("error", reply)
    if isinstance(error, Mapping):
        error = error.get("message") or error.get("detail") or ""
    return error if isinstance(error, str) else json.dumps(error)


def _messages(
    messages: Sequence[Message], native_tools: bool, url_of: Callable[[Picture], str]
) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        if message.role == "assistant":
            entries += _assistant(message, place, native_tools)
        elif message.pictures:
            entries.append({"role": message.role, "content": _parts(message, url_of)})
        else:
            entries.append({"role": message.role, "content": message.text})
    return entries


def _parts(message: Message, url_of: Callable[[Picture], str]) -> list[dict[str, Any]]:
    return [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": url_of(part)}}
        for part in message.parts
    ]


def _assistant(message: Message, place: int, native_tools: bool) -> list[dict[str, Any]]:
    """An earlier turn of the model: its words and calls, and an answer to each call."""
    native = [call for call in message.calls if native_tools and _is_well_formed(call)]
    # servers parse what they are given back: a call they could not read again is said in words
    spoken = [_in_words(call) for call in message.calls if call not in native]
    words = "\n".join([*filter(None, [message.text]), *spoken])
    if not native:
        return [{"role": "assistant", "content": words}]
    calls = [
        {
            "id": f"call_{place}_{number}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for number, call in enumerate(native)
    ]
    answers = [
        {"role": "tool", "tool_call_id": call["id"], "content": CALL_ANSWERED} for call in calls
    ]
    return [{"role": "assistant", "content": words or None, "tool_calls": calls}, *answers]


def _is_well_formed(call: Call) -> bool:
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return False
    return isinstance(arguments, dict) and _FUNCTION_NAME.fullmatch(call.name) is not None


def _in_words(call: Call) -> str:
    return (
        f'<tool_call>{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}}}</tool_call>'
    )


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NoReply("it is no whole JSON") from error
    if not isinstance(reply, Mapping):
        raise NoReply("it is no JSON object")
    return reply


def _text(message: Mapping[str, Any]) -> str:
    """All that was said: what the model thought to itself first, in the tags that the protocols
    know.
    """
    text = _words(message.get("content")) or _words(message.get("refusal"))
    reasoning = _words(message.get("reasoning_content")) or _words(message.get("reasoning"))
    if not reasoning:
        return text
    reasoning = reasoning.replace("<think>", "").replace("</think>", "").strip()
    return f"<think>\n{reasoning}\n</think>\n{text}"


def _words(content: object) -> str:
    """A text, or the texts of a list of parts; "" for anything else."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") if isinstance(part, Mapping) else part for part in parts)
    return "".join(text for text in texts if isinstance(text, str))


def _usage(reply: Mapping[str, Any], model: str, prices: Prices) -> Usage:
    counts = reply.get("usage")
    counts = counts if isinstance(counts, Mapping) else {}
    input_tokens = _count(counts.get("prompt_tokens"))
    output_tokens = _count(counts.get("completion_tokens"))
    named = reply.get("model")
    name = storable(named[:200]) if isinstance(named, str) and named else model
    return Usage(input_tokens, output_tokens, prices.of(input_tokens, output_tokens), name)


def _count(number: object) -> int:
    if not isinstance(number, int) or isinstance(number, bool):
        return 0
    return min(max(number, 0), _MOST_TOKENS)
