"""When a reply has said all that will be read, so that no more words are generated."""

from __future__ import annotations

import re
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, StoppingCriteria

from agent.protocol.call_syntax import THOUGHT

_OPEN_THOUGHT = re.compile(r"<think>", re.IGNORECASE)
_END = re.compile(
    r"</tool_call>|</answer>|<action>[^<>]*\([^<>]*</action>", re.IGNORECASE | re.DOTALL
)


def complete(reply: str) -> bool:
    """Whether a reply holds its one action whole, outside its thoughts.

    An action that draws ends with its tag; one that ends the episode has an answer after it.
    """
    visible = THOUGHT.sub("", reply)
    return _OPEN_THOUGHT.search(visible) is None and _END.search(visible) is not None


def closing_tokens(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens that can end a tag; a reply is looked at only when one of them was said."""
    return frozenset(index for token, index in tokenizer.get_vocab().items() if ">" in token)


class ActionSaid(StoppingCriteria):  # type: ignore[misc]  # transformers is not typed
    """Ends each reply of a batch once it is complete; the first `prompt_columns` tokens are not of
    the reply.

    `lengths` holds, by row, how many tokens a reply had when it was.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, closing: frozenset[int], prompt_columns: int
    ) -> None:
        self._tokenizer, self._closing, self._columns = tokenizer, closing, prompt_columns
        self.lengths: dict[int, int] = {}

    def __call__(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """(batch,) bool, which replies are complete; `input_ids` (batch, columns)."""
        reply_ids = input_ids[:, self._columns :]
        for row, last in enumerate(input_ids[:, -1].tolist()):
            if (
                row not in self.lengths
                and last in self._closing
                and complete(self._tokenizer.decode(reply_ids[row]))
            ):
                self.lengths[row] = reply_ids.shape[1]
        complete_rows = [row in self.lengths for row in range(input_ids.shape[0])]
        return torch.tensor(complete_rows, device=input_ids.device)
