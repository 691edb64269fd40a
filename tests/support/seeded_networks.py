"""Networks with seeded weights, a function of key and shape alone, for tests without any download;
and sam2, built as its authors do.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from models.segmenters.sam.architecture import Architecture as SamArchitecture
from models.segmenters.sam2.architecture import Architecture, Hiera

SEED = 20260101
NARROW = Architecture(
    "SAM 2.1 of width 16 and 5 blocks",
    Hiera(16, 1, (1, 1, 2, 1), (3,)),
    side_px=128,
    memory_layers=1,
)
"""SAM 2.1 in all its parts, with a narrow trunk and one memory layer at 128 pixels: tests run in
milliseconds.
"""

_KEYS = Path(__file__).parents[1] / "golden" / "sam2-upstream-keys.json"


def seeded(shapes: Mapping[str, Sequence[int]], seed: int = SEED) -> dict[str, torch.Tensor]:
    """Float32 weights for these keys and shapes, of a size that keeps a network's signals alive."""
    return {key: _weights(key, tuple(shape), seed) for key, shape in shapes.items()}


def _weights(key: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    digest = hashlib.sha256(f"{seed} {key} {shape}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    noise = torch.randn(shape, generator=generator)
    if len(shape) <= 1:  # biases about 0, the weights of norms and scales about 1
        return 0.1 * noise + (1.0 if key.endswith(("weight", "gamma")) else 0.0)
    if "positional_encoding_gaussian_matrix" in key:
        return noise
    fan_in = math.prod(shape[1:])
    return noise * (1.0 / math.sqrt(fan_in) if fan_in > 3 else 0.5)


@cache
def upstream_shapes(size: str) -> dict[str, tuple[int, ...]]:
    """Upstream's keys and shapes, "tiny" or "narrow", as the package sam2 1.1.0 gave them."""
    return {key: tuple(shape) for key, shape in json.loads(_KEYS.read_text())[size].items()}


@cache
def sam2_state(size: str = "narrow", seed: int = SEED, object_score: float = 5.0) -> Any:
    """A state dict under upstream's keys; `object_score` is the bias that says whether an object is
    there at all.
    """
    state = seeded(upstream_shapes(size), seed)
    state["sam_mask_decoder.pred_obj_score_head.layers.2.bias"] = torch.tensor([object_score])
    return state


def sam2_checkpoint(folder: Path, size: str = "narrow") -> Path:
    """A checkpoint file in `folder` as upstream publishes them: {"model": state dict}."""
    path = folder / f"sam2_{size}.pt"
    if not path.exists():
        torch.save({"model": sam2_state(size)}, path)
    return path


NARROW_SAM = SamArchitecture("SAM of width 32", 32, 2, 2, (1,), side_px=128)
"""SAM in all its parts with a narrow image encoder, at 128 pixels."""


def sam_state(architecture: SamArchitecture) -> Any:
    """A state dict for a SAM network; its package's own names are upstream's."""
    shapes = {key: tuple(value.shape) for key, value in architecture.build().state_dict().items()}
    return seeded(shapes)


def sam_checkpoint(folder: Path, architecture: SamArchitecture = NARROW_SAM) -> Path:
    """A checkpoint file in `folder` as upstream publishes them: a plain state dict."""
    path = folder / f"sam_{architecture.side_px}_{architecture.width}.pth"
    if not path.exists():
        torch.save(sam_state(architecture), path)
    return path


class LetterReader:
    """Text as the codes of its letters, in place of CLIP's tokenizer: (ids, mask), both (1,
    length).
    """

    def tokens(self, structure: str) -> tuple[torch.Tensor, torch.Tensor]:
        """A beginning, the letters, an end (the highest id, as CLIP has it)."""
        ids = torch.tensor([[298, *(ord(letter) % 256 for letter in structure[:30]), 299]])
        return ids, torch.ones_like(ids)


def narrow_imisnet() -> Any:
    """IMIS-Net in all its parts at 128 pixels, narrow."""
    from models.segmenters.imisnet.architecture import Architecture as ImisNetArchitecture
    from models.segmenters.imisnet.network import ImisNet

    network = ImisNet(
        ImisNetArchitecture(
            width=32,
            depth=2,
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
            vocabulary=300,
        )
    )
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    weights = seeded({key: shape for key, shape in shapes.items() if "position_ids" not in key})
    network.load_state_dict(weights, strict=False)
    return network.eval().requires_grad_(requires_grad=False)


def upstream(package: str) -> None:
    """Skip in one line where an upstream package is missing; fail where peers are required."""
    if importlib.util.find_spec(package) is None:
        missing = f"{package} is missing: run make peers"
        if os.environ.get("SEGNODE_REQUIRE_PEERS") == "1":
            pytest.fail(missing)
        pytest.skip(missing)


def upstream_sam2(
    architecture: Architecture, state: Mapping[str, torch.Tensor], *, video: bool
) -> Any:
    """The package sam2's model from its own configuration, as an image predictor's network or a
    video predictor.
    """
    upstream("sam2")
    from hydra.core.global_hydra import GlobalHydra
    from sam2.build_sam import build_sam2, build_sam2_video_predictor

    assert GlobalHydra.instance().is_initialized()
    trunk, grid = architecture.trunk, architecture.grid
    overrides = {
        "image_size": architecture.side_px,
        "fill_hole_area": 0,  # needs a compiled CUDA extension, and is skipped without it
        "memory_attention.num_layers": architecture.memory_layers,
        "memory_attention.layer.self_attention.feat_sizes": [grid, grid],
        "memory_attention.layer.cross_attention.feat_sizes": [grid, grid],
        "image_encoder.trunk.embed_dim": trunk.width,
        "image_encoder.trunk.num_heads": trunk.heads,
        "image_encoder.trunk.window_spec": list(trunk.windows),
        "image_encoder.trunk.window_pos_embed_bkg_spatial_size": [trunk.background] * 2,
        "image_encoder.trunk.stages": list(trunk.blocks),
        "image_encoder.trunk.global_att_blocks": list(trunk.global_blocks),
        "image_encoder.neck.backbone_channel_list": list(reversed(trunk.channels)),
    }
    said = [
        f"++model.{key}={value}"
        for key, value in overrides.items()
        if video or key != "fill_hole_area"
    ]
    build = build_sam2_video_predictor if video else build_sam2
    network = build(
        "configs/sam2.1/sam2.1_hiera_t.yaml", None, device="cpu", hydra_overrides_extra=said
    )
    network.load_state_dict(dict(state), strict=True)
    return network.eval()
