"""SAM 2.1's network with upstream's weights in it, every tensor accounted for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import Sam2VideoModel

from models.segmenters.sam2.architecture import Architecture
from models.segmenters.sam2.conversion import to_transformers
from models.weights.checkpoints import load_strictly


def load_network(
    state: Mapping[str, Tensor], architecture: Architecture, device: torch.device
) -> Sam2VideoModel:
    """The network in evaluation mode on `device`, float32, without gradients.

    `state` upstream's key → tensor, as models.weights.checkpoints.load_state gives it.
    WrongArchitecture when a tensor is missing, left over or of another shape.
    """
    network = Sam2VideoModel(architecture.config())
    try:
        converted = to_transformers(state)
    except KeyError:  # what is missing is said by the comparison of the two sets
        converted = dict(state)
    load_strictly(network, converted, architecture.name)
    network.requires_grad_(requires_grad=False)
    return network.to(device).eval()
