"""Two ways to put conversations before a model: going on from what it has read, or reading them
whole.

`CachedReader` needs a model whose layers remember every token and that takes pictures from its
vision tower ready made. Most do; whether one really answers the same is not believed but tried,
once, when it is loaded (trial.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from agent.language.chat import Conversation
from models.policies.chat.in_process.batching import Batch, lay_batch, row_layers
from models.policies.chat.in_process.cached_prefix import CachedPrefix, Found, KeptStates
from models.policies.chat.in_process.generating import Asking, Generator, Spoken
from models.policies.chat.in_process.loading import Loaded
from models.policies.chat.in_process.pictures import Pictures
from models.policies.chat.in_process.prompt_tokens import Prompt, PromptTokens, adds_special_tokens
from models.policies.chat.in_process.rendering import Renderer
from models.policies.chat.in_process.token_sequences import TokenSequence

_WORTH_READING_ONCE = 32  # tokens: below that, a run of its own costs more than it saves


class Reader(Protocol):
    """Makes conversations ready for a model, and has it answer several in one run."""

    def prepare(self, conversation: Conversation) -> Prompt:
        """The conversation as the model will read it."""

    def fresh(self, prompt: Prompt) -> int:
        """About how much of it has to be read anew, to put prompts of like length together."""

    def say(self, prompts: Sequence[Prompt], asking: Asking) -> list[Spoken]:
        """The replies, in order; ChatFailed for a prompt longer than the model's context."""

    def forget(self) -> None:
        """Free the memory that holds what has been read."""


class PlainReader:
    """Reads every conversation from its start, as the model's own processor prepares it."""

    def __init__(self, loaded: Loaded, generator: Generator) -> None:
        self._loaded, self._generator = loaded, generator
        self._renderer = Renderer(loaded.processor)

    def prepare(self, conversation: Conversation) -> Prompt:
        """The text with one mark a picture, and the pictures."""
        return Prompt(self._renderer.text(conversation), conversation.pictures)

    def fresh(self, prompt: Prompt) -> int:
        """Everything: its characters, and a picture as some hundreds more."""
        return len(prompt.text) + 1000 * len(prompt.pictures)

    def say(self, prompts: Sequence[Prompt], asking: Asking) -> list[Spoken]:
        """The replies, in order; nothing is kept."""
        pictured = [[picture.pixels for picture in prompt.pictures] for prompt in prompts]
        inputs = self._loaded.processor(
            text=[prompt.text for prompt in prompts],
            images=pictured if any(pictured) else None,
            padding=True,
            padding_side="left",
            return_tensors="pt",
            add_special_tokens=adds_special_tokens(self._loaded.processor, prompts[0].text),
        ).to(self._loaded.device)
        tokens = [int(count) for count in inputs["attention_mask"].sum(dim=1)]
        self._generator.refuse_too_long(max(tokens), asking)
        return self._generator.run(inputs, asking, tokens)

    def forget(self) -> None:
        """Nothing is kept."""


class CachedReader:
    """Reads only what is new in a conversation, behind what is kept of its earlier turns."""

    def __init__(self, loaded: Loaded, generator: Generator) -> None:
        self._loaded, self._generator = loaded, generator
        share = loaded.keep_bytes // 4
        self._pictures = Pictures(loaded.model, loaded.processor, limit_bytes=share)
        self._tokens = PromptTokens(
            loaded.processor,
            self._pictures,
            image_token=loaded.model.config.image_token_id,
            name=loaded.name,
        )
        self.kept = KeptStates(loaded.keep_bytes - share)
        self._layers = len(DynamicCache(config=loaded.model.config).layers)

    def prepare(self, conversation: Conversation) -> Prompt:
        """The conversation in tokens, with every picture in its place."""
        return self._tokens.prepare(conversation)

    def fresh(self, prompt: Prompt) -> int:
        """How many of its tokens are not kept."""
        reading = _read(prompt)
        prefix = self.kept.find(reading)
        return len(reading) - (prefix.tokens if prefix else 0)

    def say(self, prompts: Sequence[Prompt], asking: Asking) -> list[Spoken]:
        """The replies, in order; what was read and said is kept for the next turn."""
        readings = [_read(prompt) for prompt in prompts]
        self._generator.refuse_too_long(max(map(len, readings)), asking)
        self._read_ahead(prompts, readings)
        prefixes = [self.kept.find(reading) for reading in readings]
        with torch.inference_mode():
            batch = self._laid(readings, prefixes)
            spoken = self._generator.run(
                self._inputs(batch, prompts), asking, [len(reading) for reading in readings]
            )
            self._keep(batch, spoken)
        return spoken

    def forget(self) -> None:
        """Let go of every kept state and picture."""
        self.kept.clear()
        self._pictures.clear()

    def _read_ahead(self, prompts: Sequence[Prompt], readings: Sequence[TokenSequence]) -> None:
        """Read once what several conversations begin with (the system's words, the same clean
        slice) and none has read.
        """
        for row, reading in enumerate(readings):
            common = max((reading.shared(other) for other in readings[row + 1 :]), default=0)
            prefix = self.kept.find(reading)
            if common - (prefix.tokens if prefix else 0) >= _WORTH_READING_ONCE:
                self._read_only(prompts[row], reading.begun(common), prefix)
                if self.kept.find(reading) is None:
                    return  # there is no room to keep anything

    def _read_only(self, prompt: Prompt, begun: TokenSequence, prefix: Found | None) -> None:
        """Read the beginning of a conversation and keep it, without an answer."""
        with torch.inference_mode():
            batch = self._laid([begun], [prefix])
            inputs = self._inputs(batch, [prompt])
            for name in ("input_ids", "position_ids"):
                inputs[name] = inputs[name][..., batch.past :]
            self._loaded.model(**inputs, use_cache=True, logits_to_keep=1)
            entry = CachedPrefix(begun, len(begun), row_layers(batch, 0, reply_tokens=0))
            self.kept.put(entry, prefix)

    def _laid(self, readings: Sequence[TokenSequence], prefixes: Sequence[Found | None]) -> Batch:
        return lay_batch(
            readings,
            prefixes,
            layers=self._layers,
            filler=self._generator.filler,
            device=self._loaded.device,
        )

    def _inputs(self, batch: Batch, prompts: Sequence[Prompt]) -> dict[str, Any]:
        new = [
            picture
            for row, prompt in enumerate(prompts)
            for picture, placed in zip(prompt.pictures, batch.readings[row].pictures, strict=False)
            if placed.start >= batch.reused(row)
        ]
        positions = batch.spread(
            [
                self._positions(prompt)[..., : len(reading)]
                for prompt, reading in zip(prompts, batch.readings, strict=True)
            ]
        )
        inputs: dict[str, Any] = {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "position_ids": positions.to(batch.input_ids.device),
            "past_key_values": batch.cache,
        }
        features = self._pictures.features(new)
        return inputs if features is None else inputs | {"mm_encoder_outputs": {"image": features}}

    def _positions(self, prompt: Prompt) -> torch.Tensor:
        """Where the tokens stand: (tokens,), or (3, tokens) for a model that counts time, rows and
        columns.
        """
        reading = _read(prompt)
        # multimodal rotary positions (Wang et al., "Qwen2-VL: Enhancing Vision-Language Model's
        # Perception of the World at Any Resolution", 2024): text counts on along all three axes
        # together, the tokens of a picture have one time and their own row and column
        counts = getattr(self._loaded.model.base_model, "get_rope_index", None)
        if counts is None:
            return torch.arange(len(reading))
        ids = torch.from_numpy(reading.ids)[None]
        kinds = (ids == self._loaded.model.config.image_token_id).int()
        grids = torch.cat(prompt.grids) if prompt.grids else None
        positions: torch.Tensor = counts(ids, mm_token_type_ids=kinds, image_grid_thw=grids)[0]
        return positions[:, 0]

    def _keep(self, batch: Batch, spoken: Sequence[Spoken]) -> None:
        # the last token of a reply was not read back
        cached_tokens = batch.cache.get_seq_length() - batch.columns
        for row, reply in enumerate(spoken):
            reply_tokens = min(reply.ids.size, cached_tokens)
            reading = batch.readings[row].followed_by(reply.ids[:reply_tokens])
            entry = CachedPrefix(
                reading, len(batch.readings[row]), row_layers(batch, row, reply_tokens)
            )
            self.kept.put(entry, batch.prefixes[row])


def remembers_all(loaded: Loaded) -> bool:
    """Whether every layer keeps every token, and features can be given in place of pixels."""
    layers = DynamicCache(config=loaded.model.config).layers
    parts = ("get_text_with_replacements", "replace_image_token", "image_token")
    return (
        bool(layers)
        and all(type(layer) is DynamicLayer for layer in layers)
        and loaded.model._supports_mm_encoder_outputs()  # noqa: SLF001 - transformers has no public word for it
        and hasattr(loaded.model.config, "image_token_id")
        and all(hasattr(loaded.processor, part) for part in parts)
    )


def _read(prompt: Prompt) -> TokenSequence:
    if prompt.reading is None:
        raise ValueError("this prompt was not prepared to be gone on from")
    return prompt.reading
