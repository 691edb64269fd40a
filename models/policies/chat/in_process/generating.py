"""One run of a model over a batch: how it is asked, and the tokens that each row was answered
with.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from agent.errors import ChatFailed
from models.policies.chat.in_process.loading import Loaded
from models.policies.chat.in_process.stopping import ActionSaid, closing_tokens


@dataclass(frozen=True)
class Asking:
    """How an answer is to be made: `temperature` 0 is greedy; at most `max_new_tokens`."""

    temperature: float = 0.0
    max_new_tokens: int = 512


@dataclass(frozen=True, eq=False)
class Spoken:
    """A reply: its `ids` (tokens,) int64, an end mark included, and how many tokens the prompt had.

    `logits` (vocabulary,) float32 for the first of them.
    """

    ids: NDArray[np.int64]
    prompt_tokens: int
    logits: torch.Tensor


class Generator:
    """Runs a loaded model's own `generate`, ended when an action has been said."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._closing = closing_tokens(loaded.processor.tokenizer)
        self._ends = end_tokens(loaded)

    @property
    def filler(self) -> int:
        """The token that stands in gaps."""
        pad = self._loaded.processor.tokenizer.pad_token_id
        return int(pad if pad is not None else min(self._ends, default=0))

    def refuse_too_long(self, prompt_tokens: int, asking: Asking) -> None:
        """ChatFailed for a prompt that leaves no room for its answer in the model's context."""
        longest = self._loaded.context_tokens
        if longest is not None and prompt_tokens + asking.max_new_tokens > longest:
            raise ChatFailed(
                f"the conversation has {prompt_tokens} tokens, and with {asking.max_new_tokens} "
                f"for the answer that is more than the {longest} that {self._loaded.name} can "
                "read: allow fewer turns, smaller pictures, or shorter answers"
            )

    def run(
        self, inputs: Mapping[str, Any], asking: Asking, prompt_tokens: list[int]
    ) -> list[Spoken]:
        """The replies to `inputs` (batch, columns) of the model, rows of `prompt_tokens` tokens
        each.
        """
        columns = inputs["input_ids"].shape[1]
        stopping = ActionSaid(self._loaded.processor.tokenizer, self._closing, columns)
        first = _FirstLogits()
        with torch.inference_mode():
            sequences = self._loaded.model.generate(
                **inputs,
                generation_config=self._settings(asking),
                stopping_criteria=StoppingCriteriaList([stopping]),
                logits_processor=LogitsProcessorList([first]),
            )
        replies = sequences[:, columns:].cpu().numpy()
        return [
            Spoken(
                self._cut(reply, stopping.lengths.get(row)),
                prompt_tokens[row],
                first.logits[row],
            )
            for row, reply in enumerate(replies)
        ]

    def _settings(self, asking: Asking) -> GenerationConfig:
        settings = copy.deepcopy(self._loaded.model.generation_config)
        settings.max_new_tokens, settings.max_length = asking.max_new_tokens, None
        settings.num_beams, settings.use_cache = 1, True
        settings.pad_token_id = self.filler
        settings.do_sample = asking.temperature > 0
        if settings.do_sample:
            settings.temperature = asking.temperature
        else:
            settings.temperature = settings.top_p = settings.top_k = settings.min_p = None
        return settings

    def _cut(self, reply: NDArray[np.int64], length: int | None) -> NDArray[np.int64]:
        """A row without what fills it up after its end."""
        if length is not None:
            return reply[:length]
        ends = np.flatnonzero(np.isin(reply, self._ends))
        return reply[: int(ends[0]) + 1] if ends.size else reply


class _FirstLogits:
    """Keeps what the model said of the first token of each row, (batch, vocabulary) float32."""

    logits: torch.Tensor

    def __init__(self) -> None:
        self._heard = False

    def __call__(self, _: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if not self._heard:
            self.logits, self._heard = scores.detach().clone(), True
        return scores


def end_tokens(loaded: Loaded) -> list[int]:
    """The tokens that end a reply, in ascending order."""
    ends = loaded.model.generation_config.eos_token_id
    own = loaded.processor.tokenizer.eos_token_id
    listed = ends if isinstance(ends, list) else [ends]
    return sorted({int(end) for end in (*listed, own) if end is not None})
