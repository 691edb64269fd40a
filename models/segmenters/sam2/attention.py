"""The attention of a slice to an object's memories, with the modules of transformers'
Sam2VideoModel (Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024).

The same numbers as theirs to rounding, with less work:

- The first layer's attention of a slice to itself meets no memory, so it is the same for all
  objects and is computed once a slice.
- Memories have 64 channels and are projected to 256 as values. A row of attention weights sums to
  one, so weighing the 64 channels and projecting the sum gives the same: a quarter of the work of
  the second product, and no values to keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Sam2VideoModel

from models.segmenters.sam2.memory import Recall

_QUERIES_AT_ONCE = 512  # on a CPU: their scores against seven memories (15 MB) stay in its cache
_INPUT_POSITIONS = 0.1  # how much of the slice's positions is added to its features


class MemoryAttention:
    """Conditions a slice's features on what objects bring to it (one head, as all SAM 2.1 networks
    have).
    """

    def __init__(self, network: Sam2VideoModel) -> None:
        self._network = network
        self._layers = list(network.memory_attention.layers)
        side = network.config.memory_attention_rope_feat_sizes[0]
        channels = network.config.memory_encoder_output_channels
        device = network.no_memory_embedding.device
        # tables that depend on the grid alone: sines and cosines of row and column for the memories
        # (h·w, 64) and for the slice (1, h·w, 256)
        grid = torch.Size((1, channels, side, side))
        with torch.inference_mode():
            positions = network.memory_encoder.position_encoding(grid, device, torch.float32)
            self._memory_positions = positions.flatten(2).transpose(1, 2)[0]
            positions = network.vision_encoder.neck.position_encoding(grid, device, torch.float32)
            self._slice_positions = positions.flatten(2).transpose(1, 2)
            cos, sin = network.memory_attention.rotary_emb(
                self._slice_positions, network.memory_attention.position_ids
            )
            # exp(i·angle) of a grid point p and a pair of channels t, (h·w, 128). The angle is
            # x(p)·f(t) for the first 64 pairs and y(p)·f(t) for the others, f(t) = 10000^(-4t/256).
            # The library holds each cosine and sine twice, once for either channel of its pair
            self._rotation = torch.complex(cos[0, :, ::2], sin[0, :, ::2])

    def look(self, features: Tensor) -> Tensor:
        """A slice's features (1, 256, h, w) without memory -> (1, h·w, 256) after its attention to
        itself.
        """
        slice_tokens = features.flatten(2).transpose(1, 2)
        return self._with_itself(
            self._layers[0], slice_tokens + _INPUT_POSITIONS * self._slice_positions
        )

    def __call__(self, looked: Tensor, recalls: Sequence[Recall]) -> Tensor:
        """Condition a slice that was looked at on n objects' memories of equal size: (n, h·w,
        256).
        """
        memory, keys = self._memories(recalls)
        pointer_tokens = memory.shape[1] - len(recalls[0].features) * looked.shape[1]
        # Each layer is pre-norm and residual: t += self-attention(norm(t)), t += cross-attention of
        # norm(t) to the memories, t += MLP(norm(t)). The first layer's first step is in `looked`,
        # (1, h·w, 256), which becomes (n, h·w, 256) when the memories of n objects are added to it
        tokens = looked
        for number, layer in enumerate(self._layers):
            if number:
                tokens = self._with_itself(layer, tokens)
            tokens = tokens + self._with_memories(layer, tokens, memory, keys, pointer_tokens)
            hidden = layer.activation(layer.linear1(layer.layer_norm3(tokens)))
            tokens = tokens + layer.linear2(hidden)
        conditioned: Tensor = self._network.memory_attention.layer_norm(tokens)
        return conditioned

    def _with_itself(self, layer: Any, tokens: Tensor) -> Tensor:
        # softmax(Q·Kᵀ / √256)·V over the slice's own h·w tokens; only Q and K are rotated
        attention, normed = layer.self_attn, layer.layer_norm1(tokens)
        query = self._rotated(attention.q_proj(normed))
        key = self._rotated(attention.k_proj(normed))
        mixed = functional.scaled_dot_product_attention(query, key, attention.v_proj(normed))
        attended: Tensor = tokens + attention.o_proj(mixed)
        return attended

    def _with_memories(
        self, layer: Any, tokens: Tensor, memory: Tensor, keys: Tensor, pointer_tokens: int
    ) -> Tensor:
        # With weights A = softmax(Q·Kᵀ / √256), (n, h·w, m), and values V = M·W + b of the memories
        # M (n, m, 64): A·V = (A·M)·W + b, because each row of A sums to one
        attention = layer.cross_attn_image
        query = self._rotated(attention.q_proj(layer.layer_norm2(tokens)))
        key = attention.k_proj(keys)
        # a pointer has no place on the grid, so its keys are not rotated
        spatial = key.shape[1] - pointer_tokens
        key = torch.cat([self._rotated(key[:, :spatial]), key[:, spatial:]], dim=1)
        conditioning: Tensor = attention.o_proj(attention.v_proj(_weighed(query, key, memory)))
        return conditioning

    def _rotated(self, tokens: Tensor) -> Tensor:
        """Tokens (n, k·h·w, 256) turned by their place on the grid (rotary encoding), for each of k
        grids anew.
        """
        # Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021, axial in
        # two dimensions. Two neighbouring channels are one complex number z, turned by its place:
        # z·exp(i·angle). The product of a query at p and a key at q, Re(z·conj(w)·exp(i·(angle(p) -
        # angle(q)))), then depends on their distance p - q alone
        n, length, channels = tokens.shape
        pairs = tokens.float().reshape(n, -1, len(self._rotation), channels // 2, 2)
        turned = torch.view_as_real(torch.view_as_complex(pairs) * self._rotation)
        return turned.reshape(n, length, channels).to(tokens.dtype)

    def _memories(self, recalls: Sequence[Recall]) -> tuple[Tensor, Tensor]:
        """Memory tokens (n, m, 64) and the same with their places in space and time; the pointers
        come last.
        """
        memories, keys = zip(*(self._memory(recall) for recall in recalls), strict=True)
        return torch.stack(memories), torch.stack(keys)

    def _memory(self, recall: Recall) -> tuple[Tensor, Tensor]:
        # One learned vector for each distance in slices, (7, 64): row 0 is one slice ago, row 5 six
        # slices. The last, row 6 or -1, is an outline's, which has no distance (ago = 0)
        in_time = self._network.memory_temporal_positional_encoding[:, 0, 0]
        memory = [features.float() for _, features in recall.features]
        # what is remembered answers as it is; where and when it was is in its key alone
        keys = [
            features + self._memory_positions + in_time[ago - 1]
            for (ago, _), features in zip(recall.features, memory, strict=True)
        ]
        if recall.pointers:
            pointers, places = self._pointers(recall)
            memory.append(pointers)
            keys.append(pointers + places)
        return torch.cat(memory), torch.cat(keys)

    def _pointers(self, recall: Recall) -> tuple[Tensor, Tensor]:
        """Pointers, each cut into tokens of a memory's channels (4·p, 64), and their places in
        time.
        """
        # The distance as a share of the furthest, 0..1, is encoded in 256 sines and cosines and
        # projected to 64 channels. A pointer of 256 channels is four tokens of 64, at one place
        ago, pointers = zip(*recall.pointers, strict=True)
        tokens = torch.stack(pointers)
        place = torch.tensor(ago, dtype=torch.float32, device=tokens.device) / (recall.reach - 1)
        encoded = sine_encoding(place, tokens.shape[1])
        places = self._network.temporal_positional_encoding_projection_layer(encoded).float()
        parts = tokens.shape[1] // places.shape[1]
        return tokens.reshape(-1, places.shape[1]), places.repeat_interleave(parts, dim=0)


def sine_encoding(places: Tensor, channels: int) -> Tensor:
    """Places (n,) in time -> (n, channels): sines, then cosines, of frequencies from 1 down to
    1/10000.
    """
    # Vaswani et al., "Attention Is All You Need", 2017, section 3.5, except that two neighbouring
    # channels have the same frequency here (order // 2), as the weights were trained
    half = channels // 2
    order = torch.arange(half, dtype=torch.float32, device=places.device)
    angles = places[:, None] / 10000 ** (2 * (order // 2) / half)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _weighed(query: Tensor, key: Tensor, memory: Tensor) -> Tensor:
    """Memories (n, m, c) weighed by how well their keys (n, m, d) answer the queries (n or 1, q,
    d): (n, q, c).
    """
    memory = memory.to(query.dtype)
    if query.device.type != "cpu":
        wide = query.expand(len(key), -1, -1)
        return functional.scaled_dot_product_attention(wide, key, memory)
    # softmax(Q·Kᵀ / √d)·M by rows, so that the scores (rows, m) never leave the cache
    query = query * key.shape[2] ** -0.5
    weighed = torch.empty(len(key), query.shape[1], memory.shape[2], dtype=query.dtype)
    for n, (keys, memories) in enumerate(zip(key, memory, strict=True)):
        of_object = query[min(n, len(query) - 1)]
        for start in range(0, len(of_object), _QUERIES_AT_ONCE):
            scores = of_object[start : start + _QUERIES_AT_ONCE] @ keys.T
            weighed[n, start : start + _QUERIES_AT_ONCE] = scores.softmax(dim=1) @ memories
    return weighed
