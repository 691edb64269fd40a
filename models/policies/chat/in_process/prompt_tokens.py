"""A conversation as the tokens that one model reads: the same for serving, rollouts and training.

What is trained is token for token what is served because all of them ask here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import ProcessorMixin

from agent.errors import ChatFailed
from agent.language.chat import Conversation, Picture
from models.policies.chat.in_process.pictures import Layout, Pictures
from models.policies.chat.in_process.rendering import Renderer
from models.policies.chat.in_process.token_sequences import TokenSequence, placed_pictures


@dataclass(frozen=True, eq=False)
class Prompt:
    """A conversation made ready: its text, its pictures, and what the model takes in (where that is
    known before).
    """

    text: str
    pictures: tuple[Picture, ...]
    reading: TokenSequence | None = None
    grids: tuple[torch.Tensor, ...] = ()

    @property
    def ids(self) -> NDArray[np.int64]:
        """(tokens,) int64; ValueError where they are not known before the model is run."""
        if self.reading is None:
            raise ValueError("this prompt was not prepared in tokens")
        return self.reading.ids


class PromptTokens:
    """Conversations in tokens, for the model called `name` whose pictures are made of
    `image_token`.
    """

    def __init__(
        self, processor: ProcessorMixin, pictures: Pictures, *, image_token: int, name: str
    ) -> None:
        self._processor, self._pictures = processor, pictures
        self._image_token, self._name = image_token, name
        self._renderer = Renderer(processor)

    def prepare(self, conversation: Conversation, *, answered: bool = False) -> Prompt:
        """The conversation with every picture in its place, up to where its answer begins; with
        `answered` its last message is that answer.

        ChatFailed for tools or pictures that the model's chat template has no place for.
        """
        shown = conversation.pictures
        text = self._renderer.text(conversation, answered=answered)
        layouts = self._pictures.layouts(shown)
        (full,), _ = self._processor.get_text_with_replacements(
            [text], [layout.text for layout in layouts]
        )
        add = adds_special_tokens(self._processor, text)
        ids = np.asarray(
            self._processor.tokenizer(full, add_special_tokens=add)["input_ids"], np.int64
        )
        return Prompt(text, shown, self._placed(ids, shown, layouts), _grids(layouts))

    def alone(self, text: str) -> NDArray[np.int64]:
        """The tokens (tokens,) int64 of a text that goes on behind others, as a model says it."""
        ids = self._processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        return np.asarray(ids, np.int64)

    def plain(self, words: str) -> str:
        """What a person or a model said, as it stands in a prompt."""
        return self._renderer.plain(words)

    def _placed(
        self, ids: NDArray[np.int64], pictures: Sequence[Picture], layouts: Sequence[Layout]
    ) -> TokenSequence:
        digests = [picture.digest for picture in pictures]
        counts = [layout.tokens for layout in layouts]
        try:
            placed = placed_pictures(ids, self._image_token, digests, counts)
        except ValueError as error:
            raise ChatFailed(
                f"the chat template of {self._name} does not show every picture once ({error})"
            ) from error
        return TokenSequence(ids, placed)


def adds_special_tokens(processor: ProcessorMixin, text: str) -> bool:
    """Whether the tokenizer still has to begin the text with its own mark; templates may have done
    so.
    """
    begin = processor.tokenizer.bos_token
    return not (begin and text.startswith(begin))


def _grids(layouts: Sequence[Layout]) -> tuple[torch.Tensor, ...]:
    return tuple(
        chain.from_iterable([] if layout.grid is None else [layout.grid] for layout in layouts)
    )
