"""The seam to multimodal chat models: a conversation in, an answer out.

A conversation is a frozen value. The one for the next turn starts with all messages of this one, so
a model may cache what it has processed (KV cache, prefix cache) and key it on the messages. The
fake is agent/language/fakes.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from agent.protocol.coordinates import Coordinates, SizePx
from agent.protocol.vocabulary import Tool
from agent.turns import Usage


@dataclass(frozen=True, eq=False)
class Picture:
    """An image (height, width, 3) uint8 RGB, read-only; equal to any other of the same pixels.

    ValueError for another shape or type.
    """

    pixels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise ValueError(
                "a picture is (height, width, 3) uint8, "
                f"not {self.pixels.shape} {self.pixels.dtype}"
            )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of size and pixels, 64 hexadecimal digits."""
        head = "{}x{}:".format(*self.size).encode()
        return hashlib.sha256(head + np.ascontiguousarray(self.pixels).tobytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Picture) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return "Picture({}x{}, {})".format(*self.size, self.digest[:12])


Part = str | Picture
"""A piece of a message; text and pictures stand in the order in which the model reads them."""


@dataclass(frozen=True)
class Call:
    """A function call of the model: `name`, and `arguments` as JSON text, unchanged."""

    name: str
    arguments: str = "{}"


@dataclass(frozen=True)
class Message:
    """One message. `calls` are the functions an assistant's turn called natively; its parts are its
    words.

    For a server that wants every call answered before the next message, its adapter puts in a short
    fixed text: the outcome of the call stands in the user message that follows.
    """

    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]
    calls: tuple[Call, ...] = ()

    @property
    def text(self) -> str:
        """All words of the message, pictures left out."""
        return "\n".join(part for part in self.parts if isinstance(part, str))

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures of the message, in order."""
        return tuple(part for part in self.parts if isinstance(part, Picture))


@dataclass(frozen=True)
class Conversation:
    """All messages for one answer; the last is the user's.

    `tools` are offered to the server as functions; () when the text describes the protocol.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures of the conversation, in order."""
        return tuple(picture for message in self.messages for picture in message.pictures)


@dataclass(frozen=True)
class Answer:
    """The model's answer: its whole `text`, its native `calls`, and the `usage` of both."""

    text: str
    calls: tuple[Call, ...] = ()
    usage: Usage = field(default_factory=Usage)


class ChatModel(Protocol):
    """A multimodal chat model, in this process or on a server."""

    @property
    def name(self) -> str:
        """Name in configuration, traces and results."""

    def answer(
        self, conversations: Sequence[Conversation], *, temperature: float, max_new_tokens: int
    ) -> list[Answer]:
        """An answer for each conversation, in order; `temperature` 0 is greedy.

        Raises ChatFailed, with a sentence that says what to do, when any of them got no answer.
        """


@runtime_checkable
class SeesPictures(Protocol):
    """A chat model of which is known how it sees pictures and writes places on them."""

    @property
    def coordinates(self) -> Coordinates:
        """What its family writes; AUTO where nobody knows."""

    def seen_px(self, size_px: SizePx) -> SizePx:
        """The size at which its processor shows it a picture of `size_px`."""


def native_calls(tool_calls: Sequence[object]) -> tuple[Call, ...]:
    """The calls of an OpenAI-compatible message: {"function": {"name", "arguments"}} each.

    Nothing raises: a call of another form is kept as text, for the parser to object to.
    """
    return tuple(_call(tool_call) for tool_call in tool_calls)


def _call(tool_call: object) -> Call:
    function = tool_call.get("function", tool_call) if isinstance(tool_call, Mapping) else tool_call
    if not isinstance(function, Mapping):
        return Call("", repr(function))
    arguments = function.get("arguments", "{}")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return Call(str(function.get("name", "")), text)
