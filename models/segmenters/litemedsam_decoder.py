"""LiteMedSAM's mask decoder for one box, with its attention rearranged so that it costs half.

SAM's decoder (Kirillov et al., "Segment Anything", 2023) lets 7 tokens and the 4096 cells of the
image attend to each other and projects all cells for it, 256 channels to 128, as keys, values and
queries. A score is a product of two projections, (x Wq)(y Wk)^T = x (Wq Wk^T) y^T, so the weights
may as well be multiplied with the few tokens, and the cells enter unprojected: 56 rows (8 heads of
7 tokens) of 256 channels stand in place of 4096 rows projected to 128. The same holds for values,
since a weighted mean and a projection may change places. The result differs from the network's own
order of sums in the fifth decimal of a logit.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from models.runtime.onnx_graph import OnnxGraph, open_graph

_log = logging.getLogger(__name__)

CELLS = 64  # a side of the embedding
CHANNELS = 256
SIDE_PX = 256

Answer = tuple[NDArray[np.float32], float]
"""Logits (256, 256) float32 and the predicted IoU."""


class BoxDecoder(Protocol):
    """A mask decoder as a function of an embedding and a box."""

    @property
    def runtime(self) -> str:
        """What runs it."""

    def __call__(self, embedding: NDArray[np.float32], box: NDArray[np.float32]) -> Answer:
        """The mask for an embedding (256, 64, 64) and a box (4,), [x0, y0, x1, y1] in the model's
        pixels, all float32.
        """


class EagerDecoder:
    """The package's own prompt encoder and mask decoder, as torch runs them."""

    runtime = "torch"

    def __init__(self, network: Any) -> None:
        self._prompt_encoder, self._decoder = network.prompt_encoder, network.mask_decoder
        with torch.inference_mode():
            self._positions = self._prompt_encoder.get_dense_pe()

    def __call__(self, embedding: NDArray[np.float32], box: NDArray[np.float32]) -> Answer:
        """The mask for a box."""
        with torch.inference_mode():
            sparse, dense = self._prompt_encoder(
                points=None, boxes=torch.from_numpy(box)[None, None], masks=None
            )
            logits, ious = self._decoder(
                image_embeddings=torch.tensor(embedding)[None],
                image_pe=self._positions,
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
            )
        return logits[0, 0].numpy(), float(ious[0, 0])


class OnnxDecoder:
    """A FoldedDecoder as ONNX Runtime runs it."""

    runtime = "onnxruntime"

    def __init__(self, graph: OnnxGraph) -> None:
        self._graph = graph

    def __call__(self, embedding: NDArray[np.float32], box: NDArray[np.float32]) -> Answer:
        """The mask for a box; RuntimeError as of OnnxGraph."""
        logits, iou = self._graph(embedding=embedding, box=box)
        return logits, float(iou)


def fastest_decoder(
    network: Any, *, key: str, cache_dir: Path | None, threads: int | None, eager: bool = False
) -> BoxDecoder:
    """The quickest decoder that this machine can run; where ONNX Runtime cannot, torch does and a
    log line says so. `key` names network and weights in the cache.
    """
    plain = EagerDecoder(network)
    if eager:
        return plain
    generator = np.random.default_rng(0)
    examples = {
        "embedding": generator.normal(0, 0.2, (CHANNELS, CELLS, CELLS)).astype(np.float32),
        "box": np.array([70, 60, 170, 150], dtype=np.float32),
    }
    try:
        graph = open_graph(
            FoldedDecoder(network).eval(), examples, key=key, cache_dir=cache_dir, threads=threads
        )
        return OnnxDecoder(graph)
    except (RuntimeError, ValueError, ImportError) as fault:
        _log.warning(
            "ONNX Runtime cannot run the mask decoder (%s): torch runs it, at a third of the speed",
            fault,
        )
        return plain


class FoldedDecoder(nn.Module):
    """Prompt encoder and mask decoder of `network` for one box, arranged as the module's docstring
    says.
    """

    _positions: torch.Tensor
    _no_mask: torch.Tensor
    _output_tokens: torch.Tensor

    def __init__(self, network: Any) -> None:
        super().__init__()
        prompts, decoder = network.prompt_encoder, network.mask_decoder
        transformer = decoder.transformer
        self._prompts = prompts
        self._layers = nn.ModuleList(_FoldedLayer(layer) for layer in transformer.layers)
        self._last_look = _TokensLook(transformer.final_attn_token_to_image)
        self._last_norm = transformer.norm_final_attn
        self._upscaling = _Upscaling(decoder.output_upscaling)
        # of the network's four masks and heads, a single box is answered with the first
        self._mask_weights, self._iou = (
            decoder.output_hypernetworks_mlps[0],
            (decoder.iou_prediction_head),
        )
        with torch.no_grad():
            self.register_buffer("_positions", prompts.get_dense_pe()[0].flatten(1).t().clone())
            self.register_buffer("_no_mask", prompts.no_mask_embed.weight.clone())
            tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
            self.register_buffer("_output_tokens", tokens)

    def forward(
        self, embedding: torch.Tensor, box: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (256, 256) and predicted IoU () for an embedding (256, 64, 64) and a box (4,)."""
        corners = self._prompts._embed_boxes(box[None])[0]  # noqa: SLF001  the package has no other name for it
        prompt = torch.cat([self._output_tokens, corners])
        cells = embedding.flatten(1).t() + self._no_mask
        tokens = prompt
        for layer in self._layers:
            tokens, cells = layer(tokens, cells, prompt, self._positions)
        look = self._last_look(tokens + prompt, cells + self._positions, cells)
        tokens = self._last_norm(tokens + look)
        weights = self._mask_weights(tokens[1:2])
        return self._upscaling(cells, weights), self._iou(tokens[:1])[0, 0]


class _FoldedLayer(nn.Module):
    """A layer of the two-way transformer: tokens among themselves, tokens to cells, a perceptron,
    cells to tokens.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self._self_attention = layer.self_attn
        self._starts_plain = layer.skip_first_layer_pe
        self._tokens_look = _TokensLook(layer.cross_attn_token_to_image)
        self._cells_look = _CellsLook(layer.cross_attn_image_to_token)
        self._perceptron = layer.mlp
        self._norms = nn.ModuleList([layer.norm1, layer.norm2, layer.norm3, layer.norm4])

    def forward(
        self,
        tokens: torch.Tensor,
        cells: torch.Tensor,
        prompt: torch.Tensor,
        positions: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (7, 256) and cells (4096, 256) after the layer."""
        first, second, third, fourth = self._norms
        if self._starts_plain:  # the first layer replaces the tokens, the others add to them
            tokens = self._self_attention(tokens[None], tokens[None], tokens[None])[0]
        else:
            placed = (tokens + prompt)[None]
            tokens = tokens + self._self_attention(placed, placed, tokens[None])[0]
        tokens = first(tokens)
        placed_cells = cells + positions
        tokens = second(tokens + self._tokens_look(tokens + prompt, placed_cells, cells))
        tokens = third(tokens + self._perceptron(tokens))
        cells = fourth(cells + self._cells_look(placed_cells, tokens + prompt, tokens))
        return tokens, cells


class _TokensLook(nn.Module):
    """Attention of the tokens to the cells, the cells unprojected.

    A key's bias adds the same to all scores of a row, which softmax does not see: it is left out. A
    value's bias comes through whole, since the weights of a row sum to 1.
    """

    _key_weights: torch.Tensor
    _value_weights: torch.Tensor
    _value_bias: torch.Tensor

    def __init__(self, attention: Any) -> None:
        super().__init__()
        heads, width = attention.num_heads, attention.internal_dim // attention.num_heads
        self._heads, self._width = heads, width
        self._query, self._out = attention.q_proj, attention.out_proj
        key_weights = attention.k_proj.weight / math.sqrt(width)
        value_weights = attention.v_proj.weight.reshape(heads, width, CHANNELS)
        self.register_buffer("_key_weights", key_weights.reshape(heads, width, CHANNELS))
        self.register_buffer("_value_weights", value_weights.transpose(1, 2).contiguous())
        self.register_buffer("_value_bias", attention.v_proj.bias.clone())

    def forward(
        self, placed_tokens: torch.Tensor, placed_cells: torch.Tensor, cells: torch.Tensor
    ) -> torch.Tensor:
        """What the tokens (n, 256) gather from the cells (4096, 256): (n, 256)."""
        count = placed_tokens.shape[0]
        queries = _heads_first(self._query(placed_tokens), self._heads, self._width)
        rows = (queries @ self._key_weights).reshape(self._heads * count, CHANNELS)
        shares = torch.softmax(rows @ placed_cells.t(), dim=-1)  # (heads * n, 4096)
        means = (shares @ cells).reshape(self._heads, count, CHANNELS)
        values = (means @ self._value_weights).transpose(0, 1)  # (n, heads, width)
        gathered = values.reshape(count, self._heads * self._width) + self._value_bias
        return cast("torch.Tensor", self._out(gathered))


class _CellsLook(nn.Module):
    """Attention of the cells to the tokens, the cells unprojected.

    The query's bias differs in its product with each token, so it is added to the scores. Values
    are projected to the output's channels before the cells take their shares of them.
    """

    _query_weights: torch.Tensor
    _query_bias: torch.Tensor
    _out_weights: torch.Tensor
    _out_bias: torch.Tensor

    def __init__(self, attention: Any) -> None:
        super().__init__()
        heads, width = attention.num_heads, attention.internal_dim // attention.num_heads
        self._heads, self._width = heads, width
        self._key, self._value = attention.k_proj, attention.v_proj
        scale = math.sqrt(width)
        query_weights = attention.q_proj.weight.reshape(heads, width, CHANNELS) / scale
        out_weights = attention.out_proj.weight.t().reshape(heads, width, CHANNELS)
        self.register_buffer("_query_weights", query_weights)
        self.register_buffer("_query_bias", attention.q_proj.bias.reshape(heads, 1, width) / scale)
        self.register_buffer("_out_weights", out_weights.contiguous())
        self.register_buffer("_out_bias", attention.out_proj.bias.clone())

    def forward(
        self, placed_cells: torch.Tensor, placed_tokens: torch.Tensor, tokens: torch.Tensor
    ) -> torch.Tensor:
        """What the cells (4096, 256) gather from the tokens (n, 256): (4096, 256)."""
        count = tokens.shape[0]
        keys = _heads_first(self._key(placed_tokens), self._heads, self._width)
        values = _heads_first(self._value(tokens), self._heads, self._width)
        offsets = (keys * self._query_bias).sum(-1).reshape(1, self._heads * count)
        columns = (keys @ self._query_weights).reshape(self._heads * count, CHANNELS)
        scores = placed_cells @ columns.t() + offsets  # (4096, heads * n)
        shares = torch.softmax(scores.reshape(-1, self._heads, count), dim=-1)
        rows = (values @ self._out_weights).reshape(self._heads * count, CHANNELS)
        return shares.reshape(-1, self._heads * count) @ rows + self._out_bias


class _Upscaling(nn.Module):
    """Cells to pixels, and pixels to the logits of one mask.

    A transposed convolution of 2 x 2 with stride 2 makes four pixels of one cell without looking
    at others: it is a product of matrices. The four stay side by side with their channels last, and
    only the finished logits are put where they belong.
    """

    _first_weights: torch.Tensor
    _first_bias: torch.Tensor
    _second_weights: torch.Tensor
    _second_bias: torch.Tensor

    def __init__(self, layers: Any) -> None:
        super().__init__()
        first, norm, _, second, _ = layers
        self._widths = first.out_channels, second.out_channels
        self._norm = nn.LayerNorm(first.out_channels, eps=norm.eps)
        self._norm.weight, self._norm.bias = norm.weight, norm.bias
        for name, layer in (("_first", first), ("_second", second)):
            # (in, out, 2, 2) -> (in, 4 * out), the four places outside the channels
            weights = layer.weight.permute(0, 2, 3, 1).reshape(layer.in_channels, -1)
            self.register_buffer(f"{name}_weights", weights.contiguous())
            self.register_buffer(f"{name}_bias", layer.bias.repeat(4))

    def forward(self, cells: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Logits (256, 256) of cells (4096, 256) for the mask's weights (1, 32)."""
        middle, fine = self._widths
        pixels = (cells @ self._first_weights + self._first_bias).reshape(-1, 4, middle)
        pixels = functional.gelu(self._norm(pixels))
        pixels = functional.gelu(pixels @ self._second_weights + self._second_bias)
        logits = pixels.reshape(-1, fine) @ weights.t()
        # (cell y, cell x, y of 2, x of 2, y of 2, x of 2) -> rows, columns
        placed = logits.reshape(CELLS, CELLS, 2, 2, 2, 2).permute(0, 2, 4, 1, 3, 5)
        return placed.reshape(SIDE_PX, SIDE_PX)


def _heads_first(projected: torch.Tensor, heads: int, width: int) -> torch.Tensor:
    """(n, heads * width) -> (heads, n, width)."""
    return projected.reshape(-1, heads, width).transpose(0, 1)
