"""IMIS-Net from a checkpoint file, set as the site says."""

from __future__ import annotations

from pathlib import Path

import torch

from models.cores import usable_cores
from models.devices import chosen_device, chosen_dtype
from models.imisnet.architecture import VIT_B
from models.imisnet.checkpoint import load_imisnet
from models.imisnet.segmenter import ImisNetSegmenter
from models.imisnet.text import FOLDER, text_reader
from models.onnx_encoder import EagerEncoder
from models.resources import Resources

SIDE_PX = 1024
"""The side that the published weights were trained at."""


def open_imisnet(
    checkpoint: Path, resources: Resources, *, side_px: int = SIDE_PX
) -> ImisNetSegmenter:
    """The segmenter with the weights at `checkpoint`.

    Text is read when CLIP's tokenizer lies beside the checkpoint or among the weights (models.imisnet.text names the
    files). CheckpointUnreadable, WrongArchitecture, DeviceMissing.
    """
    torch.set_num_threads(resources.threads or usable_cores())
    device = chosen_device(resources.device)
    network = load_imisnet(checkpoint).at_side(side_px).to(device)
    # ONNX Runtime wins 3 to 10 % on this encoder and takes twice the memory, so torch runs it everywhere
    encoder = EagerEncoder(network.image_encoder, device, chosen_dtype(resources.precision, device))
    folders = (checkpoint.parent, *([resources.weights_dir] if resources.weights_dir else []))
    places = [place for folder in folders for place in (folder / FOLDER, folder)]
    reader = text_reader(places, VIT_B.text_positions)
    return ImisNetSegmenter(network, reader=reader, encoder=encoder)
