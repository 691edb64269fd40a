"""A tiny IMIS-Net with seeded weights, and the network once more, written plainly from its
description.

`PlainImisNet` computes with upstream's names and nothing of `segment-anything`, `transformers` or
our own modules; its `Faults` are the mistakes that an implementation can make.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from models.segmenters.imisnet.architecture import Architecture
from models.segmenters.imisnet.checkpoint import from_upstream, upstream_shapes
from models.segmenters.imisnet.network import ImisNet

TINY = Architecture(
    width=32,
    depth=3,
    heads=2,
    window=3,
    global_blocks=(1,),
    trained_side_px=128,
    mask_channels=4,
    decoder_mlp=48,
    head_width=16,
    semantic_width=24,
    text_width=16,
    text_depth=2,
    text_heads=2,
    text_mlp=32,
    text_positions=40,
    vocabulary=600,
)


State = dict[str, torch.Tensor]
"""Tensors by the names that upstream gives them."""


def seeded_state(network: ImisNet) -> State:
    """Upstream's names with weights that depend on name and shape alone."""
    return {name: _seeded(name, shape) for name, shape in upstream_shapes(network).items()}


def _seeded(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(f"{name}{shape}".encode()))
    noise = torch.randn(shape, generator=generator)
    if len(shape) == 1 and name.endswith("weight"):  # a norm's
        return 1 + 0.1 * noise
    fan_in = math.prod(shape[1:]) if len(shape) > 1 else 100
    if "patch_embed.proj.weight" in name or "pos_embed" in name:
        return 0.005 * noise  # little enough that the eps of the first norms can be seen
    if "embed" in name or "token" in name or "rel_pos" in name or "gaussian" in name:
        return 0.5 * noise
    return noise / math.sqrt(fan_in)


@dataclass(frozen=True)
class Faults:
    """What a careless implementation gets wrong; nothing, unless said."""

    block_eps: float = 1e-5
    antialias: bool = True
    resize: Image.Resampling = Image.Resampling.NEAREST
    pad_beside_box: bool = False
    text_in_masks: bool = True


class PlainImisNet:
    """The network from its description, one image and one prompt at a time, at side `side_px`."""

    def __init__(self, state: Any, architecture: Any, side_px: Any, faults: Any = Faults()) -> None:
        self.state, self.architecture = state, architecture
        self.side, self.patches, self.faults = side_px, side_px // 16, faults

    def image_embedding(self, rgb: Any) -> Any:
        """(1, width, s, s) of a picture (rows, columns, 3) uint8."""
        vit = "image_encoder.sam_encoder."
        square = Image.fromarray(rgb).resize((self.side, self.side), self.faults.resize)
        mean, deviation = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
        pixels = (torch.from_numpy(np.array(square)).double() - torch.tensor(mean)) / torch.tensor(
            deviation
        )
        state = self.state
        x = functional.conv2d(
            pixels.permute(2, 0, 1)[None].float(),
            state[f"{vit}patch_embed.proj.weight"],
            state[f"{vit}patch_embed.proj.bias"],
            stride=16,
        ).permute(0, 2, 3, 1)
        table = state[f"{vit}pos_embed"].permute(0, 3, 1, 2)
        if table.shape[2] != self.patches:
            table = functional.interpolate(
                table, (self.patches,) * 2, mode="bicubic", antialias=self.faults.antialias
            )
        x = (x + table.permute(0, 2, 3, 1))[0]
        for number in range(self.architecture.depth):
            x = self._block(f"{vit}blocks.{number}.", x, number in self.architecture.global_blocks)
        x = x.permute(2, 0, 1)[None]
        neck = "image_encoder.neck."
        x = self._norm2d(functional.conv2d(x, state[f"{neck}0.weight"]), f"{neck}1.")
        return self._norm2d(functional.conv2d(x, state[f"{neck}2.weight"], padding=1), f"{neck}3.")

    def _block(self, at: str, x: Any, is_global: Any) -> Any:
        normed = self._norm(x, f"{at}norm1.", self.faults.block_eps)
        if is_global:
            looked = self._relative_attention(f"{at}attn.", normed)
        else:
            window = self.architecture.window
            size = -(-self.patches // window) * window
            padded = torch.zeros(size, size, x.shape[2])
            padded[: self.patches, : self.patches] = normed
            looked = torch.zeros_like(padded)
            for row in range(0, size, window):
                for column in range(0, size, window):
                    part = np.s_[row : row + window, column : column + window]
                    looked[part] = self._relative_attention(f"{at}attn.", padded[part])
            looked = looked[: self.patches, : self.patches]
        x = x + looked
        normed = self._norm(x, f"{at}norm2.", self.faults.block_eps)
        return x + self._linear(
            functional.gelu(self._linear(normed, f"{at}mlp.fc1.")), f"{at}mlp.fc2."
        )

    def _relative_attention(self, at: str, x: Any) -> Any:
        """Attention among the cells of x (n, n, width), with a bias by row and column distance."""
        n, heads = x.shape[0], self.architecture.heads
        queries, keys, values = self._linear(x, f"{at}qkv.").chunk(3, dim=2)
        distance = torch.arange(n)[:, None] - torch.arange(n)[None, :] + n - 1
        tables = []
        for axis in "hw":
            table = self.state[f"{at}rel_pos_{axis}"]
            if len(table) != 2 * n - 1:
                table = functional.interpolate(table.T[None], 2 * n - 1, mode="linear")[0].T
            tables.append(table[distance])  # (n, n, channels of a head): from, to
        outputs = []
        for q, k, v in zip(
            *(part.chunk(heads, dim=2) for part in (queries, keys, values)), strict=True
        ):
            scores = torch.einsum("abc,dec->abde", q, k) / math.sqrt(q.shape[2])
            scores = scores + torch.einsum("abc,adc->abd", q, tables[0])[..., None]
            scores = scores + torch.einsum("abc,bec->abe", q, tables[1])[:, :, None]
            shares = scores.flatten(2).softmax(2).reshape(scores.shape)
            outputs.append(torch.einsum("abde,dec->abc", shares, v))
        return self._linear(torch.cat(outputs, dim=2), f"{at}proj.")

    def text_embedding(self, token_ids: Any) -> Any:
        """(1, width) of token ids (a list), padded behind its first end token or not."""
        architecture, at = self.architecture, "text_model.text_model."
        first_end = token_ids.index(architecture.end_token)
        ids = token_ids[
            : first_end + 1
        ]  # nothing behind is looked at: attention goes backwards only
        x = self.state[f"{at}embeddings.token_embedding.weight"][ids]
        x = x + self.state[f"{at}embeddings.position_embedding.weight"][: len(ids)]
        future = torch.ones(len(ids), len(ids), dtype=torch.bool).triu(1)
        for number in range(architecture.text_depth):
            layer = f"{at}encoder.layers.{number}."
            normed = self._norm(x, f"{layer}layer_norm1.", 1e-5)
            x = x + self._attention(
                f"{layer}self_attn.", normed, normed, normed, architecture.text_heads, future
            )
            hidden = self._linear(self._norm(x, f"{layer}layer_norm2.", 1e-5), f"{layer}mlp.fc1.")
            x = x + self._linear(hidden * torch.sigmoid(1.702 * hidden), f"{layer}mlp.fc2.")
        final = self._norm(x, f"{at}final_layer_norm.", 1e-5)
        return self._linear(final[first_end], "text_out_dim.")[None]

    def sparse(
        self,
        shape: tuple[int, ...],
        points: Any = (),
        labels: Any = (),
        box: Any | None = None,
        text: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The tokens (n, width) of a prompt in the pixels of a slice of `shape` (rows, columns)."""
        at, tokens = "prompt_encoder.", []
        kinds = [self.state[f"{at}point_embeddings.{kind}.weight"][0] for kind in range(4)]
        for (x, y), label in zip(points, labels, strict=True):
            tokens.append(self._where(x, y, shape) + kinds[label])
        if points and (box is None or self.faults.pad_beside_box):
            tokens.append(self.state[f"{at}not_a_point_embed.weight"][0])
        if box is not None:
            tokens.append(self._where(box[0], box[1], shape) + kinds[2])
            tokens.append(self._where(box[2], box[3], shape) + kinds[3])
        if text is not None:
            tokens.append(text[0])
        return torch.stack(tokens) if tokens else torch.zeros(0, self.architecture.width)

    def _where(self, x: Any, y: Any, shape: tuple[int, ...]) -> Any:
        rows, columns = shape
        return self._frequencies(
            (x * self.side / columns + 0.5) / self.side, (y * self.side / rows + 0.5) / self.side
        )

    def _frequencies(self, x: Any, y: Any) -> torch.Tensor:
        matrix = self.state["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"].double()
        angle = 2 * math.pi * (torch.tensor([2 * x - 1, 2 * y - 1], dtype=torch.float64) @ matrix)
        return torch.cat([angle.sin(), angle.cos()]).float()

    def dense_positions(self) -> torch.Tensor:
        """(1, width, s, s): the encoding of each cell's centre."""
        n = self.patches
        rows = [
            torch.stack([self._frequencies((x + 0.5) / n, (y + 0.5) / n) for x in range(n)])
            for y in range(n)
        ]
        return torch.stack(rows).permute(2, 0, 1)[None]

    def candidates(
        self,
        embedding: Any,
        sparse: Any,
        mask: torch.Tensor | None = None,
        text: torch.Tensor | None = None,
    ) -> Any:
        """Logits (4, 4s, 4s), ious (4,), semantics (4, k) for one prompt; `mask` raw logits (4s,
        4s).
        """
        state, at = self.state, "mask_decoder."
        names = ("iou_token", "mask_tokens", "semantic_tokens")
        own = torch.cat([state[f"{at}{name}.weight"] for name in names])
        image = embedding[0] + self._dense(mask)
        tokens, pixels = self._two_way(
            torch.cat([own, sparse]), image.flatten(1).T, self.dense_positions()[0].flatten(1).T
        )
        x = pixels.T.reshape(1, *image.shape)
        up = f"{at}output_upscaling."
        x = functional.conv_transpose2d(x, state[f"{up}0.weight"], state[f"{up}0.bias"], stride=2)
        x = functional.gelu(self._norm2d(x, f"{up}1."))
        x = functional.conv_transpose2d(x, state[f"{up}3.weight"], state[f"{up}3.bias"], stride=2)
        features = functional.gelu(x)[0]
        drawn = [
            torch.einsum(
                "c,chw->hw",
                self._head(f"{at}output_hypernetworks_mlps.{i}.", tokens[1 + i]),
                features,
            )
            for i in range(4)
        ]
        logits = torch.stack(drawn)
        if text is not None and self.faults.text_in_masks:
            spoken = self._linear(text[0], f"{at}text_output.")
            logits = logits + torch.einsum("c,chw->hw", spoken, features)
        semantics = self._head(f"{at}semantic_prediction_head.", tokens[5:9])
        return logits, self._head(f"{at}iou_prediction_head.", tokens[0]), semantics

    def _dense(self, mask: torch.Tensor | None) -> Any:
        at, state = "prompt_encoder.", self.state
        if mask is None:
            return state[f"{at}no_mask_embed.weight"][0][:, None, None]
        x = mask[None, None]
        down = f"{at}mask_downscaling."
        for conv, norm in (("0.", "1."), ("3.", "4.")):
            weight, bias = state[f"{down}{conv}weight"], state[f"{down}{conv}bias"]
            x = functional.conv2d(x, weight, bias, stride=2)
            x = functional.gelu(self._norm2d(x, f"{down}{norm}"))
        return functional.conv2d(x, state[f"{down}6.weight"], state[f"{down}6.bias"])[0]

    def _two_way(self, prompts: torch.Tensor, pixels: Any, places: Any) -> Any:
        at, heads = "mask_decoder.transformer.", self.architecture.decoder_heads
        tokens = prompts

        def look(name: str, queries: Any, keys: Any, values: Any) -> Any:
            return self._attention(f"{at}{name}.", queries, keys, values, heads)

        def norm(name: str, x: Any) -> Any:
            return self._norm(x, f"{at}{name}.", 1e-5)

        for number in range(self.architecture.decoder_depth):
            layer = f"layers.{number}"
            if number == 0:  # nothing has been looked at yet: no positions, nothing to add to
                tokens = look(f"{layer}.self_attn", tokens, tokens, tokens)
            else:
                placed = tokens + prompts
                tokens = tokens + look(f"{layer}.self_attn", placed, placed, tokens)
            tokens = norm(f"{layer}.norm1", tokens)
            tokens = tokens + look(
                f"{layer}.cross_attn_token_to_image", tokens + prompts, pixels + places, pixels
            )
            tokens = norm(f"{layer}.norm2", tokens)
            hidden = self._linear(tokens, f"{at}{layer}.mlp.lin1.").relu()
            tokens = norm(f"{layer}.norm3", tokens + self._linear(hidden, f"{at}{layer}.mlp.lin2."))
            seen = look(
                f"{layer}.cross_attn_image_to_token", pixels + places, tokens + prompts, tokens
            )
            pixels = norm(f"{layer}.norm4", pixels + seen)
        last = look("final_attn_token_to_image", tokens + prompts, pixels + places, pixels)
        return norm("norm_final_attn", tokens + last), pixels

    def _attention(
        self, at: str, queries: Any, keys: Any, values: Any, heads: Any, hidden: Any | None = None
    ) -> Any:
        parts = (
            self._linear(part, f"{at}{name}_proj.").chunk(heads, dim=1)
            for part, name in ((queries, "q"), (keys, "k"), (values, "v"))
        )
        outputs = []
        for q, k, v in zip(*parts, strict=True):
            scores = q @ k.T / math.sqrt(q.shape[1])
            if hidden is not None:
                scores = scores.masked_fill(hidden, -math.inf)
            outputs.append(scores.softmax(1) @ v)
        return self._linear(torch.cat(outputs, dim=1), f"{at}out_proj.")

    def _head(self, at: str, x: Any) -> Any:
        for number in range(2):
            x = self._linear(x, f"{at}layers.{number}.").relu()
        return self._linear(x, f"{at}layers.2.")

    def _linear(self, x: Any, at: str) -> Any:
        return x @ self.state[f"{at}weight"].T + self.state[f"{at}bias"]

    def _norm(self, x: Any, at: str, eps: Any) -> Any:
        spread = x.var(-1, keepdim=True, unbiased=False)
        normed = (x - x.mean(-1, keepdim=True)) / torch.sqrt(spread + eps)
        return normed * self.state[f"{at}weight"] + self.state[f"{at}bias"]

    def _norm2d(self, x: Any, at: str) -> Any:
        return self._norm(x.permute(0, 2, 3, 1), at, 1e-6).permute(0, 3, 1, 2)


NetworkAt = Callable[[int], ImisNet]
"""The tiny network at a side in pixels."""

PlainAt = Callable[..., PlainImisNet]
"""Its plain derivation at a side in pixels, with faults by name."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Tensors this small are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_architecture() -> Architecture:
    """A network of the real kind that runs in milliseconds."""
    return TINY


@pytest.fixture(scope="session")
def tiny_state() -> State:
    """Its seeded checkpoint, upstream's names."""
    return seeded_state(ImisNet(TINY))


@pytest.fixture
def tiny_at(tiny_state: State) -> NetworkAt:
    """The tiny network with its seeded weights at a side."""
    return lambda side_px: from_upstream(tiny_state, TINY).at_side(side_px)


@pytest.fixture
def plain_at(tiny_state: State) -> PlainAt:
    """The plain derivation with the same weights at a side, with faults if they are said."""
    return lambda side_px, **faults: PlainImisNet(tiny_state, TINY, side_px, Faults(**faults))


@pytest.fixture(scope="session")
def seeded() -> Callable[[ImisNet], State]:
    """The seeded state for any network."""
    return seeded_state


@pytest.fixture(scope="session")
def published_shapes(shared_data: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published checkpoint's tensors."""
    file = shared_data.parent / "facts" / "imisnet-state-dict.json"
    if not file.is_file():
        pytest.skip(f"no list of the published tensors at {file}")
    return {name: tuple(shape) for name, shape in json.loads(file.read_text()).items()}


@pytest.fixture(scope="session")
def clip_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer of CLIP's kind: every byte, alone and at a word's end, and two
    merges.
    """
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "li", "er</w>"]
    words += [f"<{number}>" for number in range(TINY.vocabulary - 2 - len(words))]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder = tmp_path_factory.mktemp("clip")
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nl i\ne r</w>\n")
    return folder
