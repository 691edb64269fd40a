"""IMIS-Net against a plain derivation of its own, with the mistakes that such a comparison must
see.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from agent.ports import PromptedSlice
from agent.values import Box, Point, Prompts
from models.errors import WrongArchitecture
from models.runtime.encoding import Features
from models.segmenters.imisnet.architecture import VIT_B, Architecture
from models.segmenters.imisnet.checkpoint import (
    from_upstream,
    own_name,
    upstream_name,
    upstream_shapes,
)
from models.segmenters.imisnet.frames import model_input, source_logits
from models.segmenters.imisnet.network import ImisNet
from models.segmenters.imisnet.prompts import draw
from tests.models.segmenters.imisnet.conftest import NetworkAt, PlainAt, State

BOUND = 5e-5
SHAPE = (90, 70)
POINTS, LABELS = ((20.0, 30.0), (50.0, 71.0), (3.0, 4.0)), (1, 0, 1)
BOX = (10.0, 12.0, 44.0, 80.0)
WORDS = [598, 17, 300, 5, 599, 599, 599]


def picture(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (*shape, 3), dtype=np.uint8)


def gap(ours: Any, theirs: Any) -> float:
    return float((torch.as_tensor(ours) - torch.as_tensor(theirs)).abs().max())


def embedded(network: ImisNet, rgb: Any) -> Any:
    with torch.inference_mode():
        return network.image_encoder(torch.from_numpy(model_input(rgb, network.side_px)))


def spoken(network: ImisNet) -> Any:
    ids = torch.tensor([WORDS])
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0]])
    with torch.inference_mode():
        return network.text_embedding(ids, mask)


def drawn_by_both(
    network: ImisNet,
    plain: Any,
    *,
    points: bool = False,
    box: bool = False,
    mask: bool = False,
    text: bool = False,
) -> Any:
    """(ours, theirs): logits (4, s, s), ious (4,), semantics (4, k) for the same prompt on the same
    embedding.
    """
    embedding = embedded(network, picture())
    said = spoken(network) if text else None
    low = torch.randn((network.side_px // 4,) * 2, generator=torch.Generator().manual_seed(2)) * 4
    prompts = Prompts(
        box=Box(*BOX) if box else None,
        points=tuple(Point(*xy, bool(label)) for xy, label in zip(POINTS, LABELS, strict=True))
        if points
        else (),
        previous_logits=low.numpy() if mask else None,
    )
    with torch.inference_mode():
        ours = draw(network, [PromptedSlice(Features(embedding[0].numpy(), SHAPE), prompts)], said)
    sparse = plain.sparse(
        SHAPE,
        points=POINTS if points else (),
        labels=LABELS if points else (),
        box=BOX if box else None,
        text=said,
    )
    theirs = plain.candidates(embedding, sparse, mask=low if mask else None, text=said)
    return (ours.logits[0], ours.ious[0], ours.semantics[0]), theirs


@pytest.mark.parametrize("side_px", [128, 64, 96], ids=["trained", "half", "odd number of windows"])
def test_the_image_embedding_is_the_plain_one(
    tiny_at: NetworkAt, plain_at: PlainAt, side_px: int
) -> None:
    network, plain = tiny_at(side_px), plain_at(side_px)

    ours = embedded(network, picture())

    assert ours.shape == (1, 32, side_px // 16, side_px // 16)
    assert gap(ours, plain.image_embedding(picture())) < BOUND


def test_positions_and_text_are_the_plain_ones(tiny_at: NetworkAt, plain_at: PlainAt) -> None:
    network, plain = tiny_at(64), plain_at(64)

    assert gap(network.prompt_encoder.get_dense_pe(), plain.dense_positions()) < BOUND
    assert gap(spoken(network), plain.text_embedding(WORDS)) < BOUND


@pytest.mark.parametrize(
    "asked",
    [
        {"points": True},
        {"box": True},
        {"points": True, "box": True},
        {"points": True, "mask": True},
        {"text": True},
        {"text": True, "box": True},
        {"text": True, "points": True, "box": True, "mask": True},
        {"mask": True},
    ],
    ids=lambda asked: "+".join(asked),
)
def test_every_kind_of_prompt_draws_what_the_plain_network_draws(
    tiny_at: NetworkAt, plain_at: PlainAt, asked: Any
) -> None:
    # Arrange, Act
    ours, theirs = drawn_by_both(tiny_at(64), plain_at(64), **asked)

    # Assert
    assert ours[0].shape == (4, 16, 16)
    for one, other in zip(ours, theirs, strict=True):
        assert gap(one, other) < BOUND


@pytest.mark.parametrize(
    ("fault", "least"),
    [
        ({"block_eps": 1e-6}, BOUND),
        ({"antialias": False}, 0.005),
        ({"resize": Image.Resampling.BILINEAR}, 0.1),
    ],
    ids=["eps 1e-6", "no antialias", "bilinear resize"],
)
def test_a_fault_in_the_encoder_would_be_seen(
    tiny_at: NetworkAt, plain_at: PlainAt, fault: Any, least: Any
) -> None:
    embedding = embedded(tiny_at(64), picture())

    assert gap(embedding, plain_at(64, **fault).image_embedding(picture())) > least


@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        ({"pad_beside_box": True}, {"points": True, "box": True}),
        ({"text_in_masks": False}, {"text": True}),
    ],
    ids=["padding point beside a box", "text not added"],
)
def test_a_fault_in_the_prompts_would_be_seen(
    tiny_at: NetworkAt, plain_at: PlainAt, fault: Any, asked: Any
) -> None:
    (ours, _, _), (theirs, _, _) = drawn_by_both(tiny_at(64), plain_at(64, **fault), **asked)

    assert gap(ours, theirs) > 0.05


def test_logits_grow_to_the_square_first_and_to_the_slice_then() -> None:
    """One pixel of 16 x 16 is half a pixel of the slice: going there directly gives other values at
    the edges.
    """
    # Arrange
    low = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(1))

    # Act
    full = source_logits(low, 64, (30, 50))

    # Assert
    square = torch.nn.functional.interpolate(low[None], (64, 64), mode="bilinear")
    twice = torch.nn.functional.interpolate(square, (30, 50), mode="bilinear")[0]
    once = torch.nn.functional.interpolate(low[None], (30, 50), mode="bilinear")[0]
    assert gap(full, twice) == 0
    assert gap(full, once) > 0.05


def test_a_picture_is_squashed_by_the_nearest_pixel() -> None:
    # Arrange: two columns, three rows, 0 255 / 255 0 / 0 0
    levels = np.array([[0, 255], [255, 0], [0, 0]], dtype=np.uint8)

    # Act
    pixels = model_input(np.repeat(levels[..., None], 3, axis=2), 6)

    # Assert
    assert pixels.shape == (1, 3, 6, 6)
    assert pixels.dtype == np.float32
    white = (pixels[0] > 0).astype(int)
    expected = np.kron(levels // 255, np.ones((2, 3), dtype=int))
    for channel in white:
        np.testing.assert_array_equal(channel, expected)
    assert pixels[0, :, 0, 0] == pytest.approx([-2.1179, -2.0357, -1.8044], abs=1e-4)


@pytest.fixture(scope="module")
def full_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the checkpoint that the full network takes; nothing is computed with
    it.
    """
    with torch.device("meta"):
        return upstream_shapes(ImisNet(VIT_B))


class TestCheckpoint:
    def test_it_has_as_many_tensors_and_parameters_as_the_published_one(
        self, full_shapes: dict[str, tuple[int, ...]]
    ) -> None:
        used = {
            name: shape for name, shape in full_shapes.items() if ".sam_encoder.neck" not in name
        }

        assert len(full_shapes) == 527
        assert len(used) == 521
        assert round(sum(math.prod(shape) for shape in full_shapes.values()) / 1e6, 1) == 182.5
        assert full_shapes["mask_decoder.text_output.weight"] == (96, 768)
        assert full_shapes["mask_decoder.semantic_prediction_head.layers.2.weight"] == (512, 256)
        assert full_shapes["image_encoder.sam_encoder.blocks.8.attn.rel_pos_h"] == (127, 64)

    def test_names_and_shapes_are_those_of_the_published_one(
        self, full_shapes: dict[str, tuple[int, ...]], published_shapes: dict[str, tuple[int, ...]]
    ) -> None:
        assert full_shapes == published_shapes

    @pytest.mark.parametrize(
        ("theirs", "ours"),
        [
            ("image_encoder.sam_encoder.pos_embed", "image_encoder.pos_embed"),
            (
                "image_encoder.sam_encoder.blocks.3.mlp.fc2.bias",
                "image_encoder.blocks.3.mlp.lin2.bias",
            ),
            ("image_encoder.neck.0.weight", "image_encoder.neck.0.weight"),
            ("mask_decoder.transformer.layers.0.mlp.lin1.bias",) * 2,
            ("text_model.text_model.final_layer_norm.bias", "text_model.final_layer_norm.bias"),
            ("text_out_dim.weight", "text_out_dim.weight"),
        ],
    )
    def test_names_go_both_ways(self, theirs: Any, ours: Any) -> None:
        assert own_name(theirs, inner_text_model=False) == ours
        assert upstream_name(ours) == theirs

    def test_transformers_4_keeps_the_inner_text_model(self) -> None:
        name = "text_model.text_model.final_layer_norm.bias"

        assert own_name(name, inner_text_model=True) == name
        assert upstream_name(name) == name

    def test_what_upstream_never_uses_is_dropped(
        self, tiny_state: State, tiny_architecture: Architecture
    ) -> None:
        # Arrange
        extra = {"text_model.text_model.embeddings.position_ids": torch.arange(40)[None]}
        without_neck = {
            name: value
            for name, value in tiny_state.items()
            if not name.startswith("image_encoder.sam_encoder.neck.")
        }

        # Act, Assert
        from_upstream(tiny_state | extra, tiny_architecture)
        from_upstream(without_neck, tiny_architecture)

    @pytest.mark.parametrize("fault", ["missing", "too many", "another shape"])
    def test_any_other_difference_is_named(
        self, tiny_state: State, tiny_architecture: Architecture, fault: str
    ) -> None:
        # Arrange
        state = dict(tiny_state)
        if fault == "missing":
            del state["mask_decoder.text_output.bias"]
        elif fault == "too many":
            state["mask_decoder.text_input.bias"] = torch.zeros(1)
        else:
            state["mask_decoder.text_output.bias"] = torch.zeros(1)

        # Act, Assert
        with pytest.raises(WrongArchitecture, match=rf"mask_decoder\.text_.*{fault}.*IMIS-Net"):
            from_upstream(state, tiny_architecture)

    def test_half_precision_weights_are_widened(
        self, tiny_state: State, tiny_architecture: Architecture
    ) -> None:
        halved = {name: value.half() for name, value in tiny_state.items()}

        network = from_upstream(halved, tiny_architecture)

        assert {value.dtype for value in network.state_dict().values()} == {torch.float32}

    @pytest.mark.parametrize("side_px", [0, -16, 100])
    def test_a_side_that_is_no_multiple_of_16_is_refused(
        self, tiny_at: NetworkAt, side_px: int
    ) -> None:
        with pytest.raises(ValueError, match="multiple of 16"):
            tiny_at(side_px)
