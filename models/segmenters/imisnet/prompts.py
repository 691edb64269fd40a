"""Prompts of the agent as tensors of IMIS-Net: those of one form go through the decoder
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agent.ports import PromptedSlice
from agent.values import Prompts
from models.segmenters.imisnet.decoder import Candidates
from models.segmenters.imisnet.frames import scaled
from models.segmenters.imisnet.network import ImisNet
from models.segmenters.prompting import check_logits, outline_logits, resized

NAME = "imisnet"


@dataclass(frozen=True)
class Form:
    """What prompts are made of. Only those of one form fit one run of the decoder."""

    points: int
    box: bool
    mask: bool
    text: bool

    @classmethod
    def of(cls, ask: PromptedSlice) -> Form:
        """The form of what is asked."""
        prompts = ask.prompts
        return cls(
            len(prompts.points),
            prompts.box is not None,
            prompts.previous_logits is not None or prompts.mask is not None,
            bool(prompts.text),
        )


def draw(network: ImisNet, asks: Sequence[PromptedSlice], text: Tensor | None) -> Candidates:
    """The candidates for asks of one form, in order; `text` (n, width) where they have one."""
    device = network.device
    # an embedding may be a read-only view of a file, which torch does not take
    images = np.stack([ask.encoding.embedding for ask in asks])
    return network.draw(
        torch.from_numpy(images).to(device),
        _points(network, asks),
        _boxes(network, asks),
        _masks(network, asks),
        text,
    )


def _points(network: ImisNet, asks: Sequence[PromptedSlice]) -> tuple[Tensor, Tensor] | None:
    """Clicks (n, k, 2) in the model's pixels and labels (n, k): 1 in, 0 out."""
    if not asks[0].prompts.points:
        return None
    xy = [
        scaled([(p.x, p.y) for p in ask.prompts.points], ask.encoding, network.side_px)
        for ask in asks
    ]
    labels = [[int(point.positive) for point in ask.prompts.points] for ask in asks]
    return torch.stack(xy).to(network.device), torch.tensor(labels, device=network.device)


def _boxes(network: ImisNet, asks: Sequence[PromptedSlice]) -> Tensor | None:
    """Boxes (n, 4) x0 y0 x1 y1 in the model's pixels."""
    corners = [
        scaled([(box.x0, box.y0), (box.x1, box.y1)], ask.encoding, network.side_px).flatten()
        for ask in asks
        if (box := ask.prompts.box) is not None
    ]
    return torch.stack(corners).to(network.device) if corners else None


def _masks(network: ImisNet, asks: Sequence[PromptedSlice]) -> Tensor | None:
    """Raw logits (n, 1, side/4, side/4) to start from."""
    prompt_masks = (_mask(ask.prompts, network.side_px // 4) for ask in asks)
    masks = [mask for mask in prompt_masks if mask is not None]
    return torch.stack(masks)[:, None].to(network.device) if masks else None


def _mask(prompts: Prompts, side: int) -> Tensor | None:
    if prompts.previous_logits is not None:
        return check_logits(NAME, prompts.previous_logits, side)
    if prompts.mask is not None:
        return resized(outline_logits(prompts.mask), (side, side), antialias=True)
    return None
