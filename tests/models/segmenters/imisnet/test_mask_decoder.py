"""IMIS-Net's mask decoder against the same mathematics in numpy, from its weights alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.segmenters.imisnet.architecture import Architecture
from models.segmenters.imisnet.decoder import Decoder
from tests.support.seeded_networks import seeded

Array = NDArray[np.float64]
WIDTH, SIDE, PROMPTS, HEADS = 32, 3, 2, 4
SMALL = Architecture(
    width=WIDTH, decoder_heads=HEADS, decoder_mlp=48, head_width=24, semantic_width=20
)
AGREE = 1e-4  # float32 through two layers, values of about 1


class Numpy:
    """The decoder's parts in float64, by the names of the checkpoint."""

    def __init__(self, weights: dict[str, Any]) -> None:
        self.weights = {name: value.double().numpy() for name, value in weights.items()}

    def linear(self, name: str, x: Array) -> Array:
        return np.asarray(x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"])

    def norm(self, name: str, x: Array, epsilon: float = 1e-5) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
        return np.asarray(scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"])

    def mlp(self, name: str, x: Array, layers: int = 3) -> Array:
        for number in range(layers):
            x = self.linear(f"{name}.layers.{number}", x)
            x = np.maximum(x, 0) if number < layers - 1 else x
        return x

    def attend(self, name: str, q: Array, k: Array, v: Array) -> Array:
        """Attention of several heads: (n, tokens, width)."""
        query, key, value = (
            self.linear(f"{name}.{part}_proj", x) for part, x in (("q", q), ("k", k), ("v", v))
        )
        heads = np.split(np.arange(query.shape[-1]), HEADS)
        mixed = []
        for head in heads:
            scores = query[..., head] @ key[..., head].swapaxes(1, 2) / math.sqrt(len(head))
            share = np.exp(scores - scores.max(-1, keepdims=True))
            mixed.append(share / share.sum(-1, keepdims=True) @ value[..., head])
        return self.linear(f"{name}.out_proj", np.concatenate(mixed, -1))

    def two_ways(self, pixels: Array, places: Array, prompts: Array) -> tuple[Array, Array]:
        """Tokens and pixels, (n, count, width), after they attended to each other."""
        tokens = prompts
        for number in range(SMALL.decoder_depth):
            at = f"transformer.layers.{number}"
            asked = tokens if number == 0 else tokens + prompts
            own = self.attend(f"{at}.self_attn", asked, asked, tokens)
            tokens = self.norm(f"{at}.norm1", own if number == 0 else tokens + own)
            looked = self.attend(
                f"{at}.cross_attn_token_to_image", tokens + prompts, pixels + places, pixels
            )
            tokens = self.norm(f"{at}.norm2", tokens + looked)
            hidden = np.maximum(self.linear(f"{at}.mlp.lin1", tokens), 0)
            tokens = self.norm(f"{at}.norm3", tokens + self.linear(f"{at}.mlp.lin2", hidden))
            pixels = self.norm(
                f"{at}.norm4",
                pixels
                + self.attend(
                    f"{at}.cross_attn_image_to_token", pixels + places, tokens + prompts, tokens
                ),
            )
        at = "transformer.final_attn_token_to_image"
        looked = self.attend(at, tokens + prompts, pixels + places, pixels)
        return self.norm("transformer.norm_final_attn", tokens + looked), pixels

    def twice(self, name: str, x: Array) -> Array:
        """A transposed convolution of step 2: (n, h, w, c) -> (n, 2h, 2w, c')."""
        kernel, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        n, rows, columns, _ = x.shape
        grown = np.empty((n, 2 * rows, 2 * columns, kernel.shape[1]))
        for y in (0, 1):
            for z in (0, 1):
                grown[:, y::2, z::2] = x @ kernel[:, :, y, z] + bias
        return grown


def gelu(x: Array) -> Array:
    return np.asarray(x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))))


def channels_last(x: torch.Tensor) -> Array:
    return np.asarray(x.double().permute(0, 2, 3, 1).numpy())


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    made = Decoder(SMALL).eval()
    shapes = {name: tuple(value.shape) for name, value in made.state_dict().items()}
    made.load_state_dict(seeded(shapes))
    return made


@pytest.mark.parametrize("with_text", [False, True], ids=["no text", "text"])
def test_masks_scores_and_semantics_are_those_of_the_formulas(
    decoder: Decoder, *, with_text: bool
) -> None:
    # Arrange
    generator = torch.Generator().manual_seed(7)
    image, dense = torch.randn(2, PROMPTS, WIDTH, SIDE, SIDE, generator=generator)
    places = torch.randn(1, WIDTH, SIDE, SIDE, generator=generator)
    sparse = torch.randn(PROMPTS, 3, WIDTH, generator=generator)
    text = torch.randn(PROMPTS, WIDTH, generator=generator) if with_text else None

    # Act
    with torch.inference_mode():
        drawn = decoder(image, places, sparse, dense, text)

    # Assert
    ours = Numpy(decoder.state_dict())
    own = [ours.weights[f"{kind}_tokens.weight"] for kind in ("mask", "semantic")]
    first = np.concatenate([ours.weights["iou_token.weight"], *own])
    prompts = np.concatenate([np.tile(first, (PROMPTS, 1, 1)), sparse.double().numpy()], axis=1)
    pixels = channels_last(image + dense).reshape(PROMPTS, SIDE * SIDE, WIDTH)
    states, pixels = ours.two_ways(pixels, channels_last(places).reshape(1, -1, WIDTH), prompts)
    grown = ours.twice("output_upscaling.0", pixels.reshape(PROMPTS, SIDE, SIDE, WIDTH))
    grown = gelu(ours.norm("output_upscaling.1", grown, 1e-6))
    grown = gelu(ours.twice("output_upscaling.3", grown))
    for mask in range(4):
        weights = ours.mlp(f"output_hypernetworks_mlps.{mask}", states[:, 1 + mask])
        if text is not None:
            weights = weights + ours.linear("text_output", text.double().numpy())
        logits = np.einsum("nc,nyxc->nyx", weights, grown)
        np.testing.assert_allclose(drawn.logits[:, mask], logits, atol=AGREE)
    scores = ours.mlp("iou_prediction_head", states[:, 0])
    np.testing.assert_allclose(drawn.ious, scores, atol=AGREE)
    meanings = ours.mlp("semantic_prediction_head", states[:, 5:9])
    np.testing.assert_allclose(drawn.semantics, meanings, atol=AGREE)
    assert drawn.logits.std() > 0.1  # worth comparing
