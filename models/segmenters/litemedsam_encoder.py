"""LiteMedSAM's image encoder, its data moved about less often.

TinyViT (Wu et al., ECCV 2022) cuts its maps into windows, splits a window's projection into
queries, keys and values, brings each of them heads first, and takes all that back again; between
attention and perceptron the map turns from channels last to channels first and back. Each of these
steps copies the map. Here queries, keys and values are projected apart, so that one copy each
brings them into windows with their heads first; the scale of the scores is in the queries' weights;
what pads the map to whole windows is cut off before the last projection; and maps stay channels
last. The sums are the network's own, their order apart.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional


class FoldedEncoder(nn.Module):
    """The image encoder of the package's network `encoder`, arranged as the module's docstring
    says.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        first, *stages = encoder.layers
        self._embed, self._first_blocks = encoder.patch_embed, first.blocks
        self._merges = nn.ModuleList(_Merge(layer.downsample) for layer in encoder.layers[:-1])
        self._stages = nn.ModuleList(
            nn.Sequential(*(_Block(block) for block in layer.blocks)) for layer in stages
        )
        self._neck = _Neck(encoder.neck)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features (1, 256, 64, 64) of prepared pixels (1, 3, 256, 256)."""
        x = self._embed(pixels)
        for block in self._first_blocks:
            x = block(x)
        for merge, stage in zip(self._merges, self._stages, strict=True):
            x = _channels_first(stage(_channels_last(merge(x))))
        return cast("torch.Tensor", self._neck(x))


class _Merge(nn.Module):
    """The step between two stages: fewer cells, more channels."""

    def __init__(self, merging: Any) -> None:
        super().__init__()
        self._layers = nn.Sequential(
            merging.conv1, merging.act, merging.conv2, merging.act, merging.conv3
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(1, channels, h, w), both ways."""
        return cast("torch.Tensor", self._layers(x))


class _Block(nn.Module):
    """Attention within windows, a convolution of each channel, a perceptron; (1, h, w, channels)
    both ways.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self._attention = _WindowAttention(block.attn, block.window_size)
        self._convolution, self._perceptron = block.local_conv, block.mlp

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The map after the block."""
        x = x + self._attention(x)
        x = _channels_last(self._convolution(_channels_first(x)))
        return cast("torch.Tensor", x + self._perceptron(x))


class _WindowAttention(nn.Module):
    """Attention of the cells of each window to each other."""

    _bias: torch.Tensor

    def __init__(self, attention: Any, side: int) -> None:
        super().__init__()
        self._side, self._heads, self._width = side, attention.num_heads, attention.key_dim
        self._norm, self._out = attention.norm, attention.proj
        parts = _parts(attention)
        parts[0].weight.data *= attention.scale
        parts[0].bias.data *= attention.scale
        self._projections = nn.ModuleList(parts)
        self.register_buffer("_bias", attention.ab.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the cells of a map (1, h, w, channels) gather, in the same shape."""
        _, h, w, channels = x.shape
        # whole windows; the network pads before it normalises, so the padding has its say
        down, right = -h % self._side, -w % self._side
        normed = self._norm(functional.pad(x, (0, 0, 0, right, 0, down)))
        rows, columns = (h + down) // self._side, (w + right) // self._side
        queries, keys, values = (
            self._in_windows(project(normed), rows, columns) for project in self._projections
        )
        shares = torch.softmax(queries @ keys.transpose(-1, -2) + self._bias, dim=-1)
        gathered = (shares @ values).reshape(
            rows, columns, self._heads, self._side, self._side, self._width
        )
        whole = gathered.permute(0, 3, 1, 4, 2, 5).reshape(1, h + down, w + right, channels)
        return cast("torch.Tensor", self._out(whole[:, :h, :w]))

    def _in_windows(self, projected: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """(1, h, w, heads * width) -> (windows, heads, cells of a window, width)."""
        split = projected.reshape(
            rows, self._side, columns, self._side, self._heads, self._width
        ).permute(0, 2, 4, 1, 3, 5)
        return split.reshape(rows * columns, self._heads, self._side**2, self._width)


class _Neck(nn.Module):
    """Two convolutions and normalisations to the 256 channels of the embedding."""

    def __init__(self, neck: Any) -> None:
        super().__init__()
        self._narrow, first, self._convolution, second = neck
        self._norms = nn.ModuleList(_layer_norm(norm) for norm in (first, second))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(1, 256, h, w) of a map (1, channels, h, w)."""
        for convolution, norm in zip((self._narrow, self._convolution), self._norms, strict=True):
            x = _channels_first(norm(_channels_last(convolution(x))))
        return x


def _parts(attention: Any) -> list[nn.Linear]:
    """The projection to queries, keys and values as three. In the network's the three lie side by
    side within each head.
    """
    heads, width = attention.num_heads, attention.key_dim
    weights = attention.qkv.weight.reshape(heads, 3, width, -1)
    biases = attention.qkv.bias.reshape(heads, 3, width)
    parts = []
    for number in range(3):
        part = nn.Linear(weights.shape[-1], heads * width)
        part.weight = nn.Parameter(weights[:, number].reshape(heads * width, -1).clone())
        part.bias = nn.Parameter(biases[:, number].reshape(-1).clone())
        parts.append(part)
    return parts


def _layer_norm(norm: Any) -> nn.LayerNorm:
    """The package's normalisation over the channels of (n, channels, h, w), for channels last."""
    layer = nn.LayerNorm(norm.weight.shape[0], eps=norm.eps)
    layer.weight, layer.bias = norm.weight, norm.bias
    return layer


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 1)


def _channels_first(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 3, 1, 2)
