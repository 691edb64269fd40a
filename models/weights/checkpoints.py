"""Checkpoints: read without running code, told apart by what is in them, loaded with every tensor
accounted for.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.errors import CheckpointUnreadable, WrongArchitecture

_WRAPPERS = ("model", "model_state_dict", "state_dict")  # a training script's names for the weights
_SAM_SIZES = {768: "ViT-B", 1024: "ViT-L", 1280: "ViT-H"}
_HIERA_SIZES = {
    (96, 12): "tiny",
    (96, 16): "small",
    (112, 24): "base-plus",
    (144, 48): "large",
}
_NAMED = 3  # how many tensors an error names


def load_state(path: Path, expected: str) -> dict[str, Tensor]:
    """The weights in a checkpoint file, key → tensor on the CPU, after a look at whose they are.

    `expected` as `describe_state` says it. Reads a plain state dict or one inside a training
    script's dict, and runs nothing that the file holds. CheckpointUnreadable for a file that is
    none, WrongArchitecture for another network's.
    """
    state = read_state(path)
    description = describe_state(state)
    if description != expected:
        raise WrongArchitecture(expected, description, path)
    return state


def read_state(path: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint file, whoever's they are: key → tensor on the CPU.
    CheckpointUnreadable otherwise.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointUnreadable(path, "there is no such file") from None
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as fault:
        raise CheckpointUnreadable(path, "it is damaged or no PyTorch checkpoint") from fault
    return _weights_in(content, path)


def _weights_in(content: Any, path: Path) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise CheckpointUnreadable(path, "it holds no state dict")
    strangers = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if strangers:
        raise CheckpointUnreadable(path, f"it holds more than tensors ('{strangers[0]}')")
    return {str(key): value for key, value in content.items()}


def describe_state(state: Mapping[str, Tensor]) -> str:
    """Whose weights these are, in words: "SAM 2.1 tiny", "SAM ViT-B", "IMIS-Net ViT-B",
    "LiteMedSAM" …
    """
    if "image_encoder.trunk.patch_embed.proj.weight" in state:
        return _describe_sam2(state)
    if "image_encoder.sam_encoder.patch_embed.proj.weight" in state:
        width = state["image_encoder.sam_encoder.patch_embed.proj.weight"].shape[0]
        return f"IMIS-Net {_vit_size(width)}"
    if "image_encoder.patch_embed.seq.0.c.weight" in state:
        return "LiteMedSAM"
    if "image_encoder.patch_embed.proj.weight" in state and "image_encoder.pos_embed" in state:
        return f"SAM {_vit_size(state['image_encoder.patch_embed.proj.weight'].shape[0])}"
    return f"unknown ({len(state)} tensors, the first is {next(iter(state), 'none')})"


def _describe_sam2(state: Mapping[str, Tensor]) -> str:
    width = state["image_encoder.trunk.patch_embed.proj.weight"].shape[0]
    blocks = {key.split(".")[3] for key in state if key.startswith("image_encoder.trunk.blocks.")}
    family = "SAM 2.1" if "no_obj_embed_spatial" in state else "SAM 2"
    size = _HIERA_SIZES.get((width, len(blocks)), f"of width {width} and {len(blocks)} blocks")
    return f"{family} {size}"


def _vit_size(width: int) -> str:
    return _SAM_SIZES.get(width, f"of width {width}")


def load_strictly(module: torch.nn.Module, state: Mapping[str, Tensor], expected: str) -> None:
    """Put `state` into `module`, every tensor of both accounted for; WrongArchitecture names what
    does not fit, or is no number: weights of a training that came to grief would draw nothing, and
    say nothing of it.

    `expected` says what the module is.
    """
    own_shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    state_shapes = {key: tuple(value.shape) for key, value in state.items()}
    missing = sorted(own_shapes.keys() - state_shapes.keys())
    surplus = sorted(state_shapes.keys() - own_shapes.keys())
    reshaped = sorted(
        key
        for key in own_shapes.keys() & state_shapes.keys()
        if own_shapes[key] != state_shapes[key]
    )
    spoilt = sorted(
        key
        for key, value in module.state_dict().items()
        if key in state_shapes and value.is_floating_point() and not _is_sound(state[key])
    )
    faults = [
        f"{_some(keys)} {what}"
        for keys, what in (
            (missing, "missing"),
            (surplus, "too many"),
            (reshaped, "of another shape"),
            (spoilt, "not of finite numbers"),
        )
        if keys
    ]
    if faults:
        raise WrongArchitecture(expected, f"other tensors: {'; '.join(faults)}")
    module.load_state_dict(dict(state), strict=True)


def _is_sound(weights: Tensor) -> bool:
    return weights.is_floating_point() and bool(torch.isfinite(weights).all())


def _some(keys: list[str]) -> str:
    named = ", ".join(keys[:_NAMED])
    return f"{named} and {len(keys) - _NAMED} more" if len(keys) > _NAMED else named
