"""A conversation as the text that a model's own chat template makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from transformers import ProcessorMixin

from agent.errors import ChatFailed
from agent.language.chat import Conversation, Message, Picture


class Renderer:
    """Writes conversations as one model reads them, up to where its answer begins.

    Nothing that a person or a model said can pass for one of the template's own marks (a message's
    end, a picture): in what was said these are broken by a space after their first character. Tags
    of the protocols stay whole.
    """

    def __init__(self, processor: ProcessorMixin) -> None:
        self._processor = processor
        template = processor.chat_template
        spoken = template if isinstance(template, str) else json.dumps(template)
        self._takes_tools = re.search(r"\btools\b", spoken) is not None
        self._marks = _marks(processor)

    def text(self, conversation: Conversation, *, answered: bool = False) -> str:
        """The prompt, with the template's one mark for each picture; with `answered` the last
        message is the answer, and none is asked for. ChatFailed for tools it has no place for.
        """
        tools = [tool.schema for tool in conversation.tools]
        if tools and not self._takes_tools:
            raise ChatFailed(
                "this model's chat template has no place for tools: "
                "use the dialect that is written in the text"
            )
        messages = [self._message(message) for message in conversation.messages]
        text = self._processor.apply_chat_template(
            messages, tools=tools or None, add_generation_prompt=not answered, tokenize=False
        )
        if not isinstance(text, str):
            raise TypeError(f"the chat template made {type(text).__name__}, not text")
        return text

    def _message(self, message: Message) -> dict[str, Any]:
        parts = [
            {"type": "image"}
            if isinstance(part, Picture)
            else {"type": "text", "text": self.plain(part)}
            for part in message.parts
        ]
        entry: dict[str, Any] = {"role": message.role, "content": parts}
        if message.calls:
            entry["tool_calls"] = [
                {
                    "type": "function",
                    "function": {"name": call.name, "arguments": _arguments(call.arguments)},
                }
                for call in message.calls
            ]
        return entry

    def plain(self, words: str) -> str:
        """What a person or a model said, as it stands in the prompt."""
        return self._marks.sub(lambda mark: f"{mark[0][0]} {mark[0][1:]}", words)


def _marks(processor: ProcessorMixin) -> re.Pattern[str]:
    """What the model reads as a mark: its special tokens, and the one that stands for a picture."""
    marks = set(processor.tokenizer.all_special_tokens)
    marks |= {
        str(token) for token in processor.tokenizer.added_tokens_decoder.values() if token.special
    }
    marks |= {processor.image_token} if getattr(processor, "image_token", None) else set()
    longest_first = sorted((mark for mark in marks if len(mark) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _arguments(arguments: str) -> Any:
    """Arguments as templates want them, as an object; as they were written where they are none."""
    try:
        read = json.loads(arguments)
    except ValueError:
        return arguments
    return read if isinstance(read, Mapping) else arguments
