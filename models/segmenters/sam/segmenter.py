"""SAM as a 2-D segmenter: boxes, clicks and masks on an encoded slice (agent.ports.Segmenter)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from torch import Tensor

from agent.ports import Encoding, PromptedSlice
from agent.values import PromptKind, Prompts, Segmentation
from models.runtime.cores import usable_cores
from models.runtime.devices import chosen_device, chosen_dtype, computing
from models.runtime.encoding import Features
from models.runtime.onnx_encoder import ImageEncoder, site_encoder
from models.runtime.resources import Resources
from models.segmenters.prompting import answer, check_logits, in_groups, require_understood
from models.segmenters.sam.architecture import Architecture, load_network
from models.segmenters.sam.frame import Frame
from models.weights.checkpoints import load_state
from models.weights.hashes import file_sha256


class SamSegmenter:
    """A promptable segmenter (agent.ports.Segmenter) with the weights of `checkpoint`.

    `name` in configuration. A box, all clicks and the earlier logits (or an outline) go in
    together; of three candidates the one of the highest predicted IoU is the answer.
    CheckpointUnreadable or WrongArchitecture when the file does not fit. Coordinates are scaled as
    upstream scales them (see models.segmenters.sam2.segmenter).
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
            self.network.image_encoder,
            resources,
            side_px=architecture.side_px,
            key=f"sam-{self.weights_sha256[:16]}",
        )

    @property
    def runtime(self) -> str:
        """What runs the image encoder: "onnxruntime" or "torch"."""
        return self._encoder.runtime

    def encode(self, image: NDArray[np.float32]) -> Features:
        """Run the image encoder on a slice (rows, columns) or (rows, columns, 3) float32 in 0..1,
        of any shape.

        Embedding (256, s, s), s a sixteenth of the network's side.
        """
        rows, columns = image.shape[:2]
        frame = Frame.of((rows, columns), self.architecture.side_px)
        inner = frame.pixels(image).to(self.device)
        square: NDArray[np.float32] = self.network.preprocess(inner).cpu().numpy()
        (embedding,) = self._encoder(square)
        return Features(embedding[0], (rows, columns))

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        """The mask for a box, clicks, an outline or earlier logits, together as they are;
        PromptNotUnderstood for text.
        """
        return self.segment_many([PromptedSlice(encoding, prompts)])[0]

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """The masks for several asks, in order; prompts of as many clicks, all with a box or none,
        go in one run of the decoder, whatever slices they are on.
        """
        for ask in asks:
            require_understood(self.name, self.supported_prompts, ask.prompts)
        return in_groups(asks, _shape, self._draw)

    def _draw(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        frames = [Frame.of(ask.encoding.source_shape, self.architecture.side_px) for ask in asks]
        low_res, ious = self.candidates(asks)
        return [
            answer(low, iou, frame.source_logits)
            for low, iou, frame in zip(low_res, ious, frames, strict=True)
        ]

    def candidates(
        self, asks: Sequence[PromptedSlice], *, multimask: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Logits (n, m, 4s, 4s) and predicted IoU (n, m) for asks of one shape; m is 3, or 1 when
        not `multimask`.
        """
        # stacked by numpy: an embedding may be a read-only view of a file, which torch does not
        # take
        embeddings = torch.from_numpy(np.stack([ask.encoding.embedding for ask in asks]))
        frames = [Frame.of(ask.encoding.source_shape, self.architecture.side_px) for ask in asks]
        pairs = list(zip(asks, frames, strict=True))
        boxes = [_box(ask.prompts, frame) for ask, frame in pairs]
        clicks = [_clicks(ask.prompts, frame) for ask, frame in pairs]
        return self._decoder(
            embeddings.to(self.device),
            points=None if clicks[0] is None else _stacked(clicks, self.device),
            boxes=None if boxes[0] is None else _stacked(boxes, self.device),
            masks=[self._mask(ask.prompts, frame) for ask, frame in pairs],
            multimask=multimask,
        )

    def _mask(self, prompts: Prompts, frame: Frame) -> Tensor | None:
        side = self.architecture.low_res_px
        if prompts.previous_logits is not None:
            return check_logits(self.name, prompts.previous_logits, side)
        return None if prompts.mask is None else frame.prompt(prompts.mask, side)


def _shape(ask: PromptedSlice) -> tuple[int, bool]:
    return len(ask.prompts.points), ask.prompts.box is not None


def _stacked(parts: Sequence[Tensor | None], device: torch.device) -> Tensor:
    return torch.stack([part for part in parts if part is not None]).to(device)


def _box(prompts: Prompts, frame: Frame) -> Tensor | None:
    """The box as (4,) x0 y0 x1 y1 in the network's pixels."""
    if (box := prompts.box) is None:
        return None
    corners = np.array([(box.x0, box.y0), (box.x1, box.y1)], dtype=np.float32)
    return frame.points(corners).reshape(4)


def _clicks(prompts: Prompts, frame: Frame) -> Tensor | None:
    """The clicks as (k, 3) x, y in the network's pixels and label 1 inside, 0 outside."""
    if not prompts.points:
        return None
    xy = np.array([(point.x, point.y) for point in prompts.points], dtype=np.float32)
    labels = torch.tensor([[float(point.positive)] for point in prompts.points])
    return torch.cat([frame.points(xy), labels], dim=1)


class PromptDecoder:
    """Draws candidate masks; the prompts are encoded in float32, the decoder computes with
    `dtype`.
    """

    def __init__(self, network: Sam, dtype: torch.dtype = torch.float32) -> None:
        self._encoder, self._decoder, self._dtype = (
            network.prompt_encoder,
            network.mask_decoder,
            dtype,
        )
        with torch.inference_mode():
            self._positions = self._encoder.get_dense_pe()

    def __call__(
        self,
        embeddings: Tensor,
        *,
        points: Tensor | None,
        boxes: Tensor | None,
        masks: Sequence[Tensor | None],
        multimask: bool,
    ) -> tuple[Tensor, Tensor]:
        """Logits (n, m, 4s, 4s) and predicted IoU (n, m), float32.

        `embeddings` (n, 256, s, s) of the slice of each, `points` (n, k, 3) x, y, label and `boxes`
        (n, 4) in the network's pixels, `masks` n earlier logits (4s, 4s) or None.
        """
        with torch.inference_mode():
            clicks = None if points is None else (points[..., :2], points[..., 2])
            sparse, dense = self._encoder(points=clicks, boxes=boxes, masks=None)
            if points is None and boxes is None:
                sparse = sparse.expand(len(embeddings), -1, -1)
            # sparse (n, k, 256): Fourier features of each place plus a learned vector for its
            # label. dense (n, 256, s, s) is added to the image's embedding
            dense = self._dense(dense, masks)
            with computing(embeddings.device, self._dtype):
                logits, ious = self._decoder(
                    # the package repeats one image for all prompts; with the images among the dense
                    # prompts, which it adds, each prompt has its own
                    image_embeddings=torch.zeros_like(embeddings[:1]),
                    image_pe=self._positions,
                    sparse_prompt_embeddings=sparse,
                    dense_prompt_embeddings=embeddings + dense,
                    multimask_output=multimask,
                )
        return logits.float(), ious.float()

    def _dense(self, none: Tensor, masks: Sequence[Tensor | None]) -> Tensor:
        """What is known of each mask (n, 256, s, s): its earlier logits, or `none` (n or 1, 256, s,
        s).
        """
        dense = none.expand(len(masks), -1, -1, -1).clone()
        places = [place for place, mask in enumerate(masks) if mask is not None]
        if places:
            stacked = torch.stack([mask for mask in masks if mask is not None])[:, None]
            dense[places] = self._encoder.mask_downscaling(stacked.to(dense.device))
        return dense
