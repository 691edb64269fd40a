"""How many tokens an episode may take, and whether a batch has all tokens of its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from agent.language.chat import Picture
from agent.language.prompt_builder import PromptBuilder
from models.errors import TrainingRefused, TrainingStopped
from models.policies.chat.in_process.loading import Loaded
from models.policies.chat.in_process.pictures import Pictures
from models.training.grpo_settings import GrpoSettings
from models.training.rollouts import Room

_TOLD_TOKENS = 200  # marks, the target's name and what came of the last action, beside the template


def room_for(loaded: Loaded, settings: GrpoSettings) -> Room:
    """How long replies and completions may become: as set, else reckoned from turns, replies,
    pictures and the longest words between them. TrainingRefused where a model cannot read so much,
    or not one turn fits.
    """
    pictures = Pictures(loaded.model, loaded.processor, limit_bytes=0)
    (layout,) = pictures.layouts([blank_picture(settings.image_px)])
    templates = PromptBuilder.of(settings.language).templates.templates
    sequels = ("next", "fault", "form")
    words = max(len(loaded.processor.tokenizer(templates[name])["input_ids"]) for name in sequels)
    observation_tokens = layout.tokens + words + _TOLD_TOKENS
    reckoned = settings.turns * settings.reply_tokens + (settings.turns - 1) * observation_tokens
    completion = settings.completion_tokens or reckoned
    if completion < settings.reply_tokens:
        raise TrainingRefused(
            f"completion_tokens ({completion}) leave no room for one reply of "
            f"{settings.reply_tokens} tokens"
        )
    return Room(settings.reply_tokens, completion, loaded.context_tokens)


def require_pictures(inputs: Mapping[str, Any], image_token: int, merged_patches: int) -> None:
    """TrainingStopped unless every row has as many image tokens as its pictures have features.

    TRL 1.16 drops all pictures of a batch in silence when one of them does not match.
    """
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    tokens = (ids == image_token).sum(dim=1).tolist()
    counts, grids = inputs.get("num_images"), inputs.get("image_grid_thw")
    if counts is None or grids is None or inputs.get("pixel_values") is None:
        raise TrainingStopped(
            "the trainer dropped the pictures of a batch: a length has cut one. Raise "
            "completion_tokens, or allow fewer turns"
        )
    features = grids.prod(dim=-1) // merged_patches
    by_row = [int(row.sum()) for row in torch.split(features, list(counts))]
    if tokens != by_row or int(grids.prod(dim=-1).sum()) != len(inputs["pixel_values"]):
        raise TrainingStopped(
            f"rows with {tokens} image tokens have pictures of {by_row} features: the chat "
            "template, or a length, has lost a part of a picture"
        )


def blank_picture(side: int) -> Picture:
    """A black square of `side` pixels."""
    return Picture(np.zeros((side, side, 3), dtype=np.uint8))
