"""IMIS-Net's checkpoint and our module: every tensor of one has its place in the other, or is known
to have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from models.segmenters.imisnet.architecture import VIT_B, Architecture
from models.segmenters.imisnet.network import ImisNet
from models.weights.checkpoints import load_state, load_strictly

EXPECTED = "IMIS-Net ViT-B"
"""What models.weights.checkpoints says of the published checkpoint."""

_VIT = "image_encoder.sam_encoder."
_UNUSED = tuple(  # SAM's own neck to 256 channels: in the checkpoint, never run
    f"{_VIT}neck.{part}"
    for part in ("0.weight", "1.weight", "1.bias", "2.weight", "3.weight", "3.bias")
)
_POSITION_IDS = "embeddings.position_ids"  # saved by older versions of transformers: 0, 1, 2, …


def load_imisnet(path: Path) -> ImisNet:
    """The published network with the checkpoint at `path`, float32, in evaluation mode, at side
    1024.

    CheckpointUnreadable, or WrongArchitecture naming what was found instead.
    """
    return from_upstream(load_state(path, EXPECTED))


def from_upstream(state: Mapping[str, Tensor], architecture: Architecture = VIT_B) -> ImisNet:
    """A network of `architecture` with upstream's `state` (key → tensor), strictly;
    WrongArchitecture otherwise.
    """
    network = ImisNet(architecture)
    inner = _has_inner_text_model(network)
    ours = {
        own_name(name, inner_text_model=inner): value.float()
        for name, value in state.items()
        if name not in _UNUSED and not name.endswith(_POSITION_IDS)
    }
    load_strictly(network, ours, EXPECTED)
    return network.eval().requires_grad_(requires_grad=False)


def upstream_shapes(network: ImisNet) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the checkpoint that fits `network`, the tensors that are never used
    included.
    """
    shapes = {
        upstream_name(name): tuple(value.shape) for name, value in network.state_dict().items()
    }
    width = network.image_encoder.patch_embed.proj.out_channels
    unused = ((256, width, 1, 1), (256,), (256,), (256, 256, 3, 3), (256,), (256,))
    return shapes | dict(zip(_UNUSED, unused, strict=True))


def own_name(name: str, *, inner_text_model: bool) -> str:
    """Upstream's name of a tensor as our module has it.

    `inner_text_model`: transformers 4 has a `text_model` within the text model, as upstream does; 5
    has dropped it.
    """
    if name.startswith(_VIT):
        inner = name.removeprefix(_VIT).replace(".mlp.fc", ".mlp.lin")
        return f"image_encoder.{inner}"
    if not inner_text_model and name.startswith("text_model.text_model."):
        return name.removeprefix("text_model.")
    return name


def upstream_name(name: str) -> str:
    """The inverse of `own_name`, whichever transformers the name is from."""
    if name.startswith("image_encoder.") and not name.startswith("image_encoder.neck."):
        inner = name.removeprefix("image_encoder.").replace(".mlp.lin", ".mlp.fc")
        return _VIT + inner
    if name.startswith("text_model.") and not name.startswith("text_model.text_model."):
        return f"text_model.{name}"
    return name


def _has_inner_text_model(network: ImisNet) -> bool:
    return any(name.startswith("text_model.text_model.") for name in network.state_dict())
