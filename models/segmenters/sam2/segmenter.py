"""SAM 2.1 and MedSAM2 as a 2-D segmenter: boxes, clicks and masks on an encoded slice
(agent.ports.Segmenter).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agent.ports import Encoding, PromptedSlice
from agent.values import PromptKind, Prompts, Segmentation
from models.runtime.cores import usable_cores
from models.runtime.devices import chosen_device, chosen_dtype
from models.runtime.encoding import Features
from models.runtime.onnx_encoder import ImageEncoder, site_encoder
from models.runtime.resources import Resources
from models.segmenters.prompting import (
    answer,
    check_logits,
    corners_and_clicks,
    in_groups,
    outline_logits,
    require_understood,
    resized,
)
from models.segmenters.sam2.architecture import Architecture
from models.segmenters.sam2.decoder import PromptBatch, PromptDecoder, SliceEncoder, model_input
from models.segmenters.sam2.network import load_network
from models.weights.checkpoints import load_state
from models.weights.hashes import file_sha256


class Sam2Segmenter:
    """A promptable segmenter (agent.ports.Segmenter) with the weights of `checkpoint`.

    `name` in configuration. A box, all clicks and the earlier logits (or an outline) go in
    together; of three candidates the one of the highest predicted IoU is the answer.
    CheckpointUnreadable or WrongArchitecture when the file does not fit.

    A coordinate is scaled as upstream scales it, x · S / W, with no regard to where in the pixel it
    lies: a pixel's centre, 0 in this project, is upstream's edge. The network then adds half of
    *its* pixels. Against the exact place this is off by (1 - S / W) / 2 network pixels, none where
    the slice has the network's size; it was trained that way.
    """

    supported_prompts = frozenset({PromptKind.BOX, PromptKind.POINT, PromptKind.MASK})

    def __init__(
        self, name: str, checkpoint: Path, architecture: Architecture, *, resources: Resources
    ) -> None:
        torch.set_num_threads(resources.threads or usable_cores())
        self.name, self.architecture = name, architecture
        self.device = chosen_device(resources.device)
        dtype = chosen_dtype(resources.precision, self.device)
        state = load_state(checkpoint, architecture.name)
        self.weights_sha256 = file_sha256(checkpoint)
        self.network = load_network(state, architecture, self.device)
        self._decoder = PromptDecoder(self.network, dtype)
        self._encoder: ImageEncoder = site_encoder(
            SliceEncoder(self.network).eval(),
            resources,
            side_px=architecture.side_px,
            key=f"sam2-{self.weights_sha256[:16]}",
        )

    @property
    def runtime(self) -> str:
        """What runs the image encoder: "onnxruntime" or "torch"."""
        return self._encoder.runtime

    def encode(self, image: NDArray[np.float32]) -> Features:
        """Run the image encoder on a slice (rows, columns) or (rows, columns, 3) float32 in 0..1,
        of any shape.

        Embedding (256, s, s) and finer maps (32, 4s, 4s), (64, 2s, 2s), s a sixteenth of the
        network's side.
        """
        rows, columns = image.shape[:2]
        embedding, finest, finer = self._encoder(model_input(image, self.architecture.side_px))
        return Features(embedding[0], (rows, columns), (finest[0], finer[0]))

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        """The mask for a box, clicks, an outline or earlier logits, together as they are;
        PromptNotUnderstood for text.
        """
        return self.segment_many([PromptedSlice(encoding, prompts)])[0]

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """The masks for several asks, in order; prompts with as many points go in one run of the
        decoder, whatever slices they are on.
        """
        for ask in asks:
            require_understood(self.name, self.supported_prompts, ask.prompts)
        return in_groups(asks, _tokens, self._draw)

    def _draw(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        low_res, ious = self._decoder(self._batch(asks))
        return [
            answer(low, iou, partial(resized, shape=ask.encoding.source_shape))
            for low, iou, ask in zip(low_res, ious, asks, strict=True)
        ]

    def _batch(self, asks: Sequence[PromptedSlice]) -> PromptBatch:
        tables = [corners_and_clicks(ask.prompts) for ask in asks]
        points = [self._scaled(xy, ask.encoding) for (xy, _), ask in zip(tables, asks, strict=True)]
        labels = torch.from_numpy(np.stack([labels for _, labels in tables]))
        return PromptBatch(
            maps=stacked_maps([ask.encoding for ask in asks], self.device),
            points=torch.stack(points).to(self.device),
            labels=labels.to(self.device),
            masks=[self._mask(ask.prompts) for ask in asks],
        )

    def _scaled(self, points: NDArray[np.float32], encoding: Encoding) -> Tensor:
        rows, columns = encoding.source_shape
        # (x / W, y / H)·S: the square does not keep the aspect
        return torch.from_numpy(points) / torch.tensor([columns, rows]) * self.architecture.side_px

    def _mask(self, prompts: Prompts) -> Tensor | None:
        side = self.architecture.low_res_px
        if prompts.previous_logits is not None:
            return check_logits(self.name, prompts.previous_logits, side)
        if prompts.mask is not None:
            return resized(outline_logits(prompts.mask), (side, side), antialias=True)
        return None


def _tokens(ask: PromptedSlice) -> int:
    return len(ask.prompts.points) + (2 if ask.prompts.box is not None else 0)


def stacked_maps(
    encodings: Sequence[Encoding], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """The maps of several encodings, n in front, on `device`; each encoding is brought there
    once.
    """
    # n prompts on m <= n slices: stack the m, then pick one for each prompt on the device
    first: dict[int, int] = {}
    places = [first.setdefault(id(encoding), len(first)) for encoding in encodings]
    different = list({id(encoding): encoding for encoding in encodings}.values())
    maps = ([encoding.embedding, *encoding.high_res] for encoding in different)
    embedding, finest, finer = (
        # stacked by numpy: a map may be a read-only view of a file, which torch does not take
        torch.from_numpy(np.stack(parts)).to(device)[places]
        for parts in zip(*maps, strict=True)
    )
    return embedding, finest, finer
