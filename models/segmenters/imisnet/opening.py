"""IMIS-Net from a checkpoint file, set as the site says."""

from __future__ import annotations

from pathlib import Path

import torch

from models.runtime.cores import usable_cores
from models.runtime.devices import chosen_device, chosen_dtype
from models.runtime.onnx_encoder import EagerEncoder
from models.runtime.resources import Resources
from models.segmenters.imisnet.architecture import VIT_B
from models.segmenters.imisnet.checkpoint import load_imisnet
from models.segmenters.imisnet.segmenter import ImisNetSegmenter
from models.segmenters.imisnet.text import FOLDER, text_reader

SIDE_PX = 1024
"""The side that the published weights were trained at."""


def open_imisnet(
    checkpoint: Path, resources: Resources, *, side_px: int = SIDE_PX
) -> ImisNetSegmenter:
    """The segmenter with the weights at `checkpoint`.

    Text is read when CLIP's tokenizer lies beside the checkpoint or among the weights
    (models.segmenters.imisnet.text names the files). CheckpointUnreadable, WrongArchitecture,
    DeviceMissing.
    """
    torch.set_num_threads(resources.threads or usable_cores())
    device = chosen_device(resources.device)
    network = load_imisnet(checkpoint).at_side(side_px).to(device)
    # ONNX Runtime wins 3 to 10 % on this encoder and takes twice the memory, so torch runs it
    # everywhere
    encoder = EagerEncoder(network.image_encoder, device, chosen_dtype(resources.precision, device))
    folders = (checkpoint.parent, *([resources.weights_dir] if resources.weights_dir else []))
    places = [place for folder in folders for place in (folder / FOLDER, folder)]
    reader = text_reader(places, VIT_B.text_positions)
    return ImisNetSegmenter(network, reader=reader, encoder=encoder)
