"""SAM 2.1's network: every upstream tensor finds its place, and nothing else is let in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from models.errors import CheckpointUnreadable, WrongArchitecture
from models.segmenters.sam2.architecture import BASE_PLUS, LARGE, MEDSAM2, SMALL, TINY
from models.segmenters.sam2.conversion import converted_name, to_transformers
from models.segmenters.sam2.network import load_network
from models.weights.checkpoints import describe_state, load_state, read_state
from tests.support import seeded_networks

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("upstream", "ours"),
    [
        (
            "image_encoder.trunk.blocks.11.norm1.weight",
            "vision_encoder.backbone.blocks.11.layer_norm1.weight",
        ),
        (
            "image_encoder.trunk.blocks.0.mlp.layers.1.bias",
            "vision_encoder.backbone.blocks.0.mlp.proj_out.bias",
        ),
        ("image_encoder.neck.convs.3.conv.weight", "vision_encoder.neck.convs.3.weight"),
        ("sam_prompt_encoder.mask_downscaling.6.bias", "prompt_encoder.mask_embed.conv3.bias"),
        ("sam_mask_decoder.output_upscaling.1.weight", "mask_decoder.upscale_layer_norm.weight"),
        (
            "sam_mask_decoder.iou_prediction_head.layers.1.weight",
            "mask_decoder.iou_prediction_head.layers.0.weight",
        ),
        (
            "sam_mask_decoder.transformer.norm_final_attn.bias",
            "mask_decoder.transformer.layer_norm_final_attn.bias",
        ),
        ("obj_ptr_proj.layers.2.weight", "object_pointer_proj.proj_out.weight"),
        (
            "memory_encoder.mask_downsampler.encoder.10.weight",
            "memory_encoder.mask_downsampler.layers.3.layer_norm.weight",
        ),
        (
            "memory_encoder.mask_downsampler.encoder.12.bias",
            "memory_encoder.mask_downsampler.final_conv.bias",
        ),
        ("memory_encoder.fuser.layers.1.gamma", "memory_encoder.memory_fuser.layers.1.scale"),
        ("memory_encoder.out_proj.weight", "memory_encoder.projection.weight"),
        (
            "memory_attention.layers.0.cross_attn_image.out_proj.bias",
            "memory_attention.layers.0.cross_attn_image.o_proj.bias",
        ),
        ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
    ],
)
def test_a_name_becomes_what_transformers_calls_it(upstream: str, ours: str) -> None:
    assert converted_name(upstream) == ours


def test_the_four_point_embeddings_become_one() -> None:
    state = seeded_networks.sam2_state()

    converted = to_transformers(state)

    stacked = converted["prompt_encoder.point_embed.weight"]
    assert stacked.shape == (4, 256)
    for label in range(4):
        each = state[f"sam_prompt_encoder.point_embeddings.{label}.weight"]
        torch.testing.assert_close(stacked[label], each[0], rtol=0, atol=0)


@pytest.mark.parametrize("size", ["tiny", "narrow"])
def test_all_of_upstreams_tensors_load_and_none_is_left_over(size: str) -> None:
    # Arrange
    architecture = {"tiny": TINY, "narrow": seeded_networks.NARROW}[size]
    state = seeded_networks.sam2_state(size)

    # Act
    network = load_network(state, architecture, CPU)

    # Assert
    loaded = network.state_dict()
    assert len(state) == {"tiny": 471, "narrow": 309}[size]
    assert sum(p.numel() for p in loaded.values()) - 256 == sum(p.numel() for p in state.values())
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    torch.testing.assert_close(
        loaded["memory_temporal_positional_encoding"], state["maskmem_tpos_enc"], rtol=0, atol=0
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("no_mem_embed"), "no_memory_embedding missing"),
        (lambda state: state.pop("sam_prompt_encoder.point_embeddings.2.weight"), "missing"),
        (lambda state: state.update(stranger=torch.zeros(1)), "stranger too many"),
        (lambda state: state.update(no_mem_embed=torch.zeros(1, 1, 255)), "of another shape"),
    ],
    ids=["missing", "a point embedding missing", "too many", "another shape"],
)
def test_a_network_is_loaded_whole_or_not_at_all(change: Any, said: str) -> None:
    # Arrange
    state = dict(seeded_networks.sam2_state())
    change(state)

    # Act, Assert
    with pytest.raises(WrongArchitecture, match=said):
        load_network(state, seeded_networks.NARROW, CPU)


def test_sizes_are_told_apart() -> None:
    assert describe_state(seeded_networks.sam2_state("tiny")) == TINY.name == MEDSAM2.name
    assert describe_state(seeded_networks.sam2_state("narrow")) == seeded_networks.NARROW.name
    names = {size.name for size in (TINY, SMALL, BASE_PLUS, LARGE)}
    assert names == {f"SAM 2.1 {size}" for size in ("tiny", "small", "base-plus", "large")}
    older = {
        k: v for k, v in seeded_networks.sam2_state("tiny").items() if k != "no_obj_embed_spatial"
    }
    assert describe_state(older) == "SAM 2 tiny"


def test_another_networks_checkpoint_says_which_was_expected_and_which_was_found(
    tmp_path: Path,
) -> None:
    path = seeded_networks.sam2_checkpoint(tmp_path)

    with pytest.raises(
        WrongArchitecture,
        match=r"sam2_narrow\.pt holds SAM 2\.1 of width 16 and 5 blocks, not IMIS-Net ViT-B",
    ):
        load_state(path, "IMIS-Net ViT-B")


@pytest.mark.parametrize("wrapper", [None, "model", "model_state_dict", "state_dict"])
def test_a_state_dict_is_found_in_what_a_training_script_saved(
    tmp_path: Path, wrapper: str | None
) -> None:
    # Arrange
    state = {"weight": torch.arange(3.0)}
    content = state if wrapper is None else {wrapper: state, "epoch": 7, "optimizer": {"lr": 0.1}}
    path = tmp_path / "checkpoint.pt"
    torch.save(content, path)

    # Act, Assert
    torch.testing.assert_close(read_state(path), state)


class Stranger:
    """What a checkpoint must never bring to life."""


def _nothing(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (_nothing, "there is no such file"),
        (lambda path: path.write_bytes(b"no checkpoint"), "damaged or no PyTorch checkpoint"),
        (lambda path: path.write_bytes(b""), "damaged or no PyTorch checkpoint"),
        (lambda path: torch.save(Stranger(), path), "damaged or no PyTorch checkpoint"),
        (lambda path: torch.save([1, 2], path), "no state dict"),
        (lambda path: torch.save({"a": torch.zeros(1), "b": 2}, path), "more than tensors"),
    ],
    ids=["missing", "text", "empty", "code", "a list", "no tensors"],
)
def test_what_is_no_checkpoint_is_refused_in_a_sentence(
    tmp_path: Path, write: Any, said: str
) -> None:
    path = tmp_path / "checkpoint.pt"
    write(path)

    with pytest.raises(CheckpointUnreadable, match=said):
        read_state(path)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"image_encoder.sam_encoder.patch_embed.proj.weight": (768, 3, 16, 16)}, "IMIS-Net ViT-B"),
        ({"image_encoder.patch_embed.seq.0.c.weight": (32, 3, 3, 3)}, "LiteMedSAM"),
        (
            {
                "image_encoder.pos_embed": (1, 64, 64, 1024),
                "image_encoder.patch_embed.proj.weight": (1024, 3, 16, 16),
            },
            "SAM ViT-L",
        ),
        ({"head.weight": (2, 2)}, "unknown (1 tensors, the first is head.weight)"),
        ({}, "unknown (0 tensors, the first is none)"),
    ],
)
def test_networks_are_known_by_their_keys(keys: Any, said: str) -> None:
    assert describe_state({key: torch.zeros(shape) for key, shape in keys.items()}) == said


@pytest.mark.parametrize(
    "spoil",
    [
        lambda weights: torch.full_like(weights, torch.nan),
        lambda weights: weights.index_fill(0, torch.tensor([0]), torch.inf),
        lambda weights: weights.to(torch.int8),
    ],
    ids=["no number", "one infinite", "whole numbers"],
)
def test_weights_that_are_no_finite_numbers_are_refused(spoil: Any) -> None:
    state = seeded_networks.sam2_state()
    key = "sam_mask_decoder.iou_token.weight"

    with pytest.raises(WrongArchitecture, match=r"mask_decoder\.iou_token\.weight not of finite"):
        load_network({**state, key: spoil(state[key])}, seeded_networks.NARROW, torch.device("cpu"))
