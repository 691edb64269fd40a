"""A multimodal language model in this process, on transformers (agent.language.chat.ChatModel).

Conversations of many episodes are answered in one run. What the model has read of an episode is
kept, so a turn costs the new picture, the new words and the answer, however long the episode has
become.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import torch

from agent.errors import ChatFailed
from agent.language.chat import Answer, Conversation
from agent.protocol.coordinates import Coordinates, SizePx
from agent.turns import Usage
from models.policies.chat.families import TRAINED_COORDINATES, coordinates_of, resized_px
from models.policies.chat.in_process.generating import Asking, Generator, Spoken
from models.policies.chat.in_process.loading import Loaded, load_chat_model
from models.policies.chat.in_process.prompt_tokens import Prompt
from models.policies.chat.in_process.trial import chosen_reader
from models.runtime.memory import is_out_of_memory
from models.runtime.resources import Resources

_log = logging.getLogger(__name__)


class TransformersChat:
    """Qwen3-VL, Qwen2.5-VL or any other image-text-to-text model; at most `batch` conversations in
    one run.
    """

    def __init__(self, loaded: Loaded, *, batch: int) -> None:
        if batch < 1:
            raise ValueError(f"a batch has at least one conversation, not {batch}")
        self._loaded, self._batch = loaded, batch
        self._reader = chosen_reader(loaded, Generator(loaded))
        self._one_at_a_time = threading.Lock()

    @property
    def name(self) -> str:
        """The name of the model's folder."""
        return self._loaded.name

    @property
    def coordinates(self) -> Coordinates:
        """What it was trained with here, else what its family writes."""
        config = self._loaded.model.config
        trained_with = getattr(config, TRAINED_COORDINATES, "")
        return Coordinates(trained_with) if trained_with else coordinates_of(config.model_type)

    def seen_px(self, size_px: SizePx) -> SizePx:
        """As its own processor resizes a picture, where that is of the Qwen families' kind."""
        processor: Any = self._loaded.processor.image_processor
        size: Any = getattr(processor, "size", None) or {}
        least, most = size.get("shortest_edge"), size.get("longest_edge")
        patch_px, merged = (getattr(processor, name, 0) for name in ("patch_size", "merge_size"))
        if not (least and most and isinstance(patch_px, int) and patch_px and merged):
            return size_px
        return resized_px(size_px, (int(least), int(most)), patch_px * int(merged))

    def answer(
        self, conversations: Sequence[Conversation], *, temperature: float, max_new_tokens: int
    ) -> list[Answer]:
        """An answer for each conversation, in order; `temperature` 0 is greedy.

        Raises ChatFailed for a conversation that is longer than the model can read, or for which
        there is no memory.
        """
        asking = Asking(temperature, max_new_tokens)
        with self._one_at_a_time:
            prompts = [self._reader.prepare(conversation) for conversation in conversations]
            # rows of a run are filled up to the longest: those with as much to read go together
            order = sorted(range(len(prompts)), key=lambda at: self._reader.fresh(prompts[at]))
            spoken: dict[int, Spoken] = {}
            for start in range(0, len(order), self._batch):
                some = order[start : start + self._batch]
                replies = self._say([prompts[at] for at in some], asking)
                spoken |= zip(some, replies, strict=True)
        return [self._answer(spoken[at]) for at in range(len(prompts))]

    def _say(self, prompts: Sequence[Prompt], asking: Asking) -> list[Spoken]:
        replies = self._try(prompts, asking)
        if replies is not None:
            return replies
        self._reader.forget()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(prompts) == 1:
            replies = self._try(prompts, asking)
            if replies is None:
                raise ChatFailed(
                    f"there is no memory for even one conversation with {self.name}: "
                    "use smaller pictures, fewer turns, quantisation, or a smaller model"
                )
            return replies
        half = (len(prompts) + 1) // 2
        _log.warning("no memory for %d conversations at once: trying %d", len(prompts), half)
        return self._say(prompts[:half], asking) + self._say(prompts[half:], asking)

    def _try(self, prompts: Sequence[Prompt], asking: Asking) -> list[Spoken] | None:
        """The replies, or None when memory ran out: what the run held is free again when this
        returns.
        """
        try:
            return self._reader.say(prompts, asking)
        except (MemoryError, RuntimeError) as fault:
            if not is_out_of_memory(fault):
                raise
            return None

    def _answer(self, spoken: Spoken) -> Answer:
        text = self._loaded.processor.tokenizer.decode(spoken.ids, skip_special_tokens=True)
        return Answer(
            text, usage=Usage(spoken.prompt_tokens, int(spoken.ids.size), model=self.name)
        )


def transformers_chat(resources: Resources) -> TransformersChat:
    """The model that `resources.language` names; UnusableModel when it cannot be used."""
    return TransformersChat(load_chat_model(resources), batch=resources.language.batch)
