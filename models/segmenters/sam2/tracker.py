"""One step of following objects with SAM 2.1: what was an outline is remembered, what is remembered
is drawn.

Both upstream libraries hold all slices, encode them anew for each object and follow one object at a
time. This one is given a slice's features, made once, and draws all objects on it together; it
holds nothing itself (models/segmenters/sam2/memory.py is what an object remembers). The numbers are
those of the package sam2 1.1.0 (SAM2VideoPredictor without hole filling), which its tests compare,
also where transformers' own video model differs: after a mask prompt the pointer comes from the
single mask, and the memory from the mask brought down to the low resolution and up again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import Sam2VideoModel

from agent.errors import SegmenterFailed
from agent.ports import Encoding
from models.runtime.devices import objects_at_once
from models.segmenters.sam2.attention import MemoryAttention
from models.segmenters.sam2.heads import Drawn, Heads, Question
from models.segmenters.sam2.memory import Memory, Recall

_CERTAIN = 10.0  # the logit of a pixel that was said to be inside; of one outside its negative


@dataclass(frozen=True, eq=False)
class SliceFeatures:
    """A slice in hand: `features` (1, 256, h, w) without memory, and its finer maps (1, c, …)."""

    z: int
    features: Tensor
    high_res: tuple[Tensor, ...]


class Tracker:
    """Follows objects with a network in evaluation mode. Every call belongs in
    torch.inference_mode(), and in models.runtime.devices.computing where another precision than
    float32 is wanted.
    """

    def __init__(self, network: Sam2VideoModel) -> None:
        self.network, self._config = network, network.config
        self._attention, self._heads = MemoryAttention(network), Heads(network)
        self._side_px = int(network.config.image_size)
        self._at_once = objects_at_once(self.device)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = self.network.no_memory_embedding.device
        return device

    def look(self, z: int, encoding: Encoding) -> SliceFeatures:
        """Take slice `z` in hand. `encoding` as the image path made it: with the embedding for "no
        memory" added.

        SegmenterFailed for another network's encoding.
        """
        maps = (encoding.embedding, *encoding.high_res)
        grid = self._config.memory_attention_rope_feat_sizes[0]
        if [features.shape[1] for features in maps] != [grid, 4 * grid, 2 * grid]:
            raise SegmenterFailed("this encoding was made by another segmenter")
        embedding, *high_res = (
            torch.from_numpy(np.ascontiguousarray(features)).to(self.device)[None]
            for features in maps
        )
        # what the image path added is taken off: here memories take its place
        return SliceFeatures(z, embedding - self._no_memory, tuple(high_res))

    def outline(self, look: SliceFeatures, mask: NDArray[np.bool_]) -> tuple[Tensor, Memory]:
        """An outline (rows, columns) that somebody drew as low-resolution logits (S/4, S/4), and
        what is remembered of it; an empty one says that the object is not there.
        """
        # 0 and 1 become logits of -10 and 10, averaged down to the size of the decoder's own masks
        square = self._squared(mask)
        low_res = functional.interpolate(
            square * 2 * _CERTAIN - _CERTAIN,
            size=(self._side_px // 4,) * 2,
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        # the decoder draws the outline once more for its pointer alone: the logits are dropped
        question = Question(mask=self.network.mask_downsample(square))
        answer = self._heads.draw(look.features, look.high_res, question, several=False)
        there = square.flatten(1).any(dim=1)
        pointer = self._heads.absent_pointer(answer.pointer, there)
        logits = low_res[:, 0].float()
        features = self._encoded(look, logits, there, hard_edge=True)
        return logits[0], Memory(look.z, features[0], pointer[0])

    def prompted(self, look: SliceFeatures, question: Question) -> tuple[Drawn, Memory]:
        """Draw one object from points (a box is two) without memory, and what is remembered of
        it.
        """
        # few clicks mean several things, so the best of three candidates is taken; many mean one
        least, most = self._config.multimask_min_pt_num, self._config.multimask_max_pt_num
        answer = self._heads.draw(
            look.features + self._no_memory,
            look.high_res,
            question,
            several=least <= question.clicks <= most,
        )
        features = self._encoded(look, answer.logits, answer.presence > 0, hard_edge=True)
        return answer, Memory(look.z, features[0], answer.pointer[0])

    def follow(self, look: SliceFeatures, recalls: Sequence[Recall]) -> list[tuple[Drawn, Memory]]:
        """Draw objects from their memories, and what is remembered of each: as many answers as
        `recalls`, in order.

        Objects with as much to remember are worked on together, as many at once as suit the device.
        """
        tokens = self._attention.look(look.features)
        alike: dict[tuple[int, int], list[int]] = {}
        for place, recall in enumerate(recalls):
            alike.setdefault(recall.size, []).append(place)
        by_place: dict[int, tuple[Drawn, Memory]] = {}
        for places in alike.values():
            for start in range(0, len(places), self._at_once):
                some = places[start : start + self._at_once]
                answers = self._follow(look, tokens, [recalls[place] for place in some])
                by_place |= dict(zip(some, answers, strict=True))
        return [by_place[place] for place in range(len(recalls))]

    def _follow(
        self, look: SliceFeatures, tokens: Tensor, recalls: Sequence[Recall]
    ) -> list[tuple[Drawn, Memory]]:
        # (n, h·w, 256) -> (n, 256, h, w): from tokens back to the map that the decoder draws on. No
        # prompt goes in: where the object is, its memories have said
        side = look.features.shape[-1]
        conditioned = self._attention(tokens, recalls).transpose(1, 2)
        conditioned = conditioned.reshape(len(recalls), -1, side, side)
        several = self._config.multimask_output_for_tracking
        answers = self._heads.draw(conditioned, look.high_res, several=several)
        features = self._encoded(look, answers.logits, answers.presence > 0, hard_edge=False)
        return [
            (answers[n], Memory(look.z, features[n], answers.pointer[n]))
            for n in range(len(features))
        ]

    @property
    def _no_memory(self) -> Tensor:
        embedding: Tensor = self.network.no_memory_embedding.view(1, -1, 1, 1)
        return embedding

    def _squared(self, mask: NDArray[np.bool_]) -> Tensor:
        """An outline (rows, columns) in the model's square: (1, 1, S, S) float32 of 0 and 1."""
        plane = torch.from_numpy(np.ascontiguousarray(mask)).to(self.device)[None, None].float()
        side = (self._side_px,) * 2
        if plane.shape[2:] == side:
            return plane
        resized = functional.interpolate(
            plane, size=side, mode="bilinear", align_corners=False, antialias=True
        )
        return (resized >= 0.5).float()  # half covered is inside, as upstream has it

    def _encoded(
        self, look: SliceFeatures, logits: Tensor, there: Tensor, *, hard_edge: bool
    ) -> Tensor:
        """What is remembered of masks (n, S/4, S/4) logits: (n, h·w, 64), rounded to bfloat16 as
        upstream keeps it.

        `hard_edge` for a mask that somebody gave or prompted: 0 or 1, not a probability. A pixel
        whose logit is zero to rounding may lie on the other side than upstream's, and moves the
        logits of later slices by up to about 1e-3.
        """
        # The mask memory of SAM 2: with p = 1 where l > 0, or the sigmoid of l, the encoder takes
        # a·p + b (a = 20, b = -10 in the published sizes) through strided convolutions to the map's
        # size, adds the projected features of the slice, fuses both and projects to 64 channels
        full = functional.interpolate(
            logits[:, None], size=(self._side_px,) * 2, mode="bilinear", align_corners=False
        )
        inside = (full > 0).float() if hard_edge else full.sigmoid()
        config, network = self._config, self.network
        scaled = inside * config.sigmoid_scale_for_mem_enc + config.sigmoid_bias_for_mem_enc
        features, _ = network.memory_encoder(look.features.expand(len(scaled), -1, -1, -1), scaled)
        # a slice on which the object is not there is remembered with a learned vector on top
        hidden = network.occlusion_spatial_embedding_parameter[..., None, None]
        features = features.float() + (~there)[:, None, None, None] * hidden
        tokens: Tensor = features.flatten(2).transpose(1, 2).to(torch.bfloat16).contiguous()
        return tokens
