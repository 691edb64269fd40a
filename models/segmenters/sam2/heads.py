"""Prompts and features into masks, scores and pointers: SAM 2.1's prompt encoder and mask decoder
for many objects.

Follows the package sam2 1.1.0, sam2/modeling/sam2_base.py, _forward_sam_heads, with transformers'
modules.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Sam2VideoModel

NO_OBJECT = -1024.0
"""The logit everywhere on a slice on which the model does not see the object."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """What the decoder drew of n objects on one slice.

    `logits` (n, S/4, S/4) float32, NO_OBJECT where the object is not there; `ious` (n, candidates)
    its opinion of each candidate, `choice` (n,) the one taken; `presence` (n,) logit that the
    object is there; `pointer` (n, 256) float32.
    """

    logits: Tensor
    ious: Tensor
    choice: Tensor
    presence: Tensor
    pointer: Tensor

    def __getitem__(self, n: int) -> Drawn:
        """Object `n` alone, without the dimension of objects."""
        parts = (self.logits, self.ious, self.choice, self.presence, self.pointer)
        return Drawn(*(part[n] for part in parts))


@dataclass(frozen=True, eq=False)
class Question:
    """Prompts in the model's pixels, the same for all objects: `points` (p, 2) xy, `labels` (p,)
    int32 as SAM 2 numbers them (1 in, 0 out, 2 and 3 a box's corners), `mask` (n, 1, S/4, S/4)
    logits or None.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    mask: Tensor | None = None

    @property
    def clicks(self) -> int:
        """How many points there are."""
        return 0 if self.points is None else len(self.points)


class Heads:
    """The prompt encoder and the mask decoder of a network."""

    def __init__(self, network: Sam2VideoModel) -> None:
        self._network = network
        with torch.inference_mode():
            self._positions = network.get_image_wide_positional_embeddings()
            self._nothing = network.prompt_encoder(*self._padding(), None, None)

    def draw(
        self,
        embeddings: Tensor,
        high_res: tuple[Tensor, ...],
        question: Question | None = None,
        *,
        several: bool,
    ) -> Drawn:
        """Draw n objects from their conditioned features (n, 256, h, w) and the slice's finer maps
        (1, c, …).

        `several`: the best of three candidates, by the decoder's own opinion; else its single mask,
        replaced by the best of three where that is unstable.
        """
        sparse, dense = self._nothing if question is None else self._encode(question)
        masks, ious, tokens, presence = self._network.mask_decoder(
            image_embeddings=embeddings,
            image_positional_embeddings=self._positions,
            sparse_prompt_embeddings=sparse.expand(len(embeddings), -1, -1, -1),
            dense_prompt_embeddings=dense,
            multimask_output=several,
            high_resolution_features=list(high_res),
        )
        # masks (n, 1, k, S/4, S/4), ious (n, 1, k), tokens (n, 1, k, 256), presence (n, 1, 1) with
        # k = 3 candidates, or 1. That one was exchanged within the decoder where its stability, the
        # area where l > δ over the area where l > -δ, is below a threshold of the configuration
        ious, presence = ious[:, 0].float(), presence[:, 0, 0].float()
        choice, objects = ious.argmax(dim=1), torch.arange(len(ious), device=ious.device)
        there = presence > 0
        logits = torch.where(there[:, None, None], masks[objects, 0, choice].float(), NO_OBJECT)
        # the state of the token that drew the mask, through an MLP, says what the object is
        pointer = self._pointer(tokens[objects, 0, choice], there)
        return Drawn(logits, ious, choice, presence, pointer)

    def absent_pointer(self, pointer: Tensor, there: Tensor) -> Tensor:
        """Pointers (n, 256), with the learned one for "not there" in place of those whose object is
        not `there` (n,).
        """
        return torch.where(there[:, None], pointer, self._network.no_object_pointer)

    def _pointer(self, token: Tensor, there: Tensor) -> Tensor:
        return self.absent_pointer(self._network.object_pointer_proj(token).float(), there)

    def _encode(self, question: Question) -> tuple[Tensor, Tensor]:
        points, labels = self._padding()
        if question.points is not None and question.labels is not None:
            points, labels = question.points[None, None], question.labels[None, None]
        encoded: tuple[Tensor, Tensor] = self._network.prompt_encoder(
            points, labels, None, question.mask
        )
        return encoded

    def _padding(self) -> tuple[Tensor, Tensor]:
        """The one point, labelled as none, that stands for "no points"."""
        device = self._network.no_object_pointer.device
        points = torch.zeros(1, 1, 1, 2, device=device)
        return points, torch.full((1, 1, 1), -1, dtype=torch.int32, device=device)
