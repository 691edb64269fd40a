"""How the model that is trained reads and is answered for: as it will be served."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from models.policies.chat.in_process.generating import end_tokens
from models.policies.chat.in_process.loading import Loaded
from models.policies.chat.in_process.pictures import Pictures
from models.policies.chat.in_process.prompt_tokens import PromptTokens


@dataclass(frozen=True, eq=False)
class PlannerTokens:
    """What training needs of a model's tokens: its prompts' `tokens`, what `ends` a reply, the
    `filler` of rows up to the longest, and the most that it reads (None: any number).
    """

    name: str
    tokens: PromptTokens
    ends: Collection[int]
    filler: int
    context_tokens: int | None


def planner_tokens(loaded: Loaded) -> PlannerTokens:
    """The tokens of a loaded model."""
    ends = end_tokens(loaded)
    pad = loaded.processor.tokenizer.pad_token_id
    pictures = Pictures(loaded.model, loaded.processor, limit_bytes=0)
    tokens = PromptTokens(
        loaded.processor,
        pictures,
        image_token=loaded.model.config.image_token_id,
        name=loaded.name,
    )
    filler = int(pad if pad is not None else min(ends, default=0))
    return PlannerTokens(loaded.name, tokens, ends, filler, loaded.context_tokens)
