"""Arrays as JSON carries them: masks as PNG or run lengths, logits as float32, images as files.

All bytes are in base64.
"""

from __future__ import annotations

import base64
import binascii
import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agent.values import Segmentation
from server.errors import BadImage, BadPrompt
from server.interactive.images import SentImage
from server.interactive.schemas import LogitsJson, MaskFormat, MaskOut, SegmentationOut
from server.interactive.views import AskedView

_INSIDE = 255
_LONGEST_LOGIT = 1e6  # far beyond what any network says, and harmless in float32


def image_of(text: str, view: AskedView | None = None) -> SentImage:
    """An image from base64, with or without a data URL before it, to be shown by `view`.

    BadImage for what is no base64.
    """
    try:
        content = _decoded(text.partition(",")[2] if text.startswith("data:") else text)
        return SentImage(content, view)
    except binascii.Error as error:
        raise BadImage("the image is no base64") from error


def logits_of(sent: LogitsJson, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Low-resolution logits (h, w) float32 of exactly `shape`; BadPrompt for anything else."""
    try:
        content = _decoded(sent.data)
    except binascii.Error as error:
        raise BadPrompt("the logits are no base64") from error
    if sent.shape != shape or len(content) != 4 * math.prod(shape):
        raise BadPrompt(f"this segmenter's logits are {shape[0]} x {shape[1]} float32 numbers")
    logits = np.frombuffer(content, dtype="<f4").reshape(shape).astype(np.float32)
    if not (np.abs(logits) <= _LONGEST_LOGIT).all():  # false also for what is no number
        raise BadPrompt("the logits must be finite numbers, as they were given")
    return logits


def mask_of(sent: SentImage, shape: tuple[int, int], max_pixels: int) -> NDArray[np.bool_]:
    """A mask (rows, columns) bool from an image of that shape, foreground above half.

    BadPrompt for another shape, BadImage for no image.
    """
    pixels = sent.pixels(max_pixels)
    if pixels.shape != shape:
        raise BadPrompt(f"a mask is grey and has the image's {shape[0]} x {shape[1]} pixels")
    return np.asarray(pixels > 0.5)


def segmentation_out(
    segmentation: Segmentation,
    image_sha256: str,
    mask_format: MaskFormat,
    *,
    shown: str,
    with_logits: bool,
) -> SegmentationOut:
    """A segmenter's answer as JSON; `shown` says how it was shown the image."""
    return SegmentationOut(
        image_sha256=image_sha256,
        shown=shown,
        mask=_mask_out(segmentation.mask, mask_format),
        area_px=int(np.count_nonzero(segmentation.mask)),
        predicted_iou=share(segmentation.predicted_iou),
        choice=segmentation.choice,
        candidate_ious=tuple(share(iou) for iou in segmentation.candidate_ious),
        logits=_logits_out(segmentation.logits) if with_logits else None,
    )


def runs(mask: NDArray[np.bool_]) -> list[int]:
    """Run lengths of a mask, row by row, beginning with background (0 if there is none)."""
    flat = mask.ravel()
    turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate(([0], turns, [flat.size])))
    counts: list[int] = lengths.tolist()
    return [0, *counts] if flat[0] else counts


def share(opinion: float) -> float:
    """A segmenter's confidence for JSON, 0..1; NaN counts as none."""
    return min(max(float(opinion), 0.0), 1.0) if math.isfinite(opinion) else 0.0


def _mask_out(mask: NDArray[np.bool_], mask_format: MaskFormat) -> MaskOut:
    shape = (mask.shape[0], mask.shape[1])
    if mask_format is MaskFormat.RLE:
        return MaskOut(format=mask_format, shape=shape, counts=runs(mask))
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * _INSIDE).save(buffer, "PNG", compress_level=1)
    return MaskOut(format=mask_format, shape=shape, data=_encoded(buffer.getvalue()))


def _logits_out(logits: NDArray[np.float32]) -> LogitsJson:
    height, width = logits.shape
    content = np.ascontiguousarray(logits, dtype="<f4").tobytes()
    return LogitsJson(shape=(height, width), data=_encoded(content))


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # also letters beyond ASCII
        raise binascii.Error(str(error)) from error
