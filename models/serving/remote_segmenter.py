"""A segmenter behind `segnode sessions`, on this machine or another: for training, where many
processes draw with one of them.

Images and prompts go there and masks come back, bit for bit those that the segmenter itself draws.
An image is sent once and named by its hash afterwards; the prompts of many slices go in one call.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agent.errors import SegmenterFailed
from agent.ports import Encoding, PromptedSlice
from agent.values import PromptKind, Prompts, Segmentation
from models.serving.remote_calls import DEFAULT_RETRIES, CallRetries, RemoteCalls, UnknownToServer

MOST_ASKS = 64
"""Prompts in one call, as the server takes them."""

_LONGEST_CALL_BYTES = 16 * 2**20  # of images; the server takes larger bodies than that
_TRIAL = np.zeros((64, 64), np.float32)


@dataclass(frozen=True, eq=False)
class SentSlice:
    """A slice for the server: its encoding stays there, and is asked for by the image's hash."""

    image: NDArray[np.float32]

    @cached_property
    def content(self) -> bytes:
        """The image as a .npy file, which keeps every bit of it."""
        buffer = io.BytesIO()
        np.save(buffer, self.image)
        return buffer.getvalue()

    @cached_property
    def sha256(self) -> str:
        """What the server calls the image, hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def embedding(self) -> NDArray[np.float32]:
        """The image itself, (1 or 3, rows, columns): no features come from the server."""
        return self.image[None] if self.image.ndim == 2 else np.moveaxis(self.image, 2, 0)

    @property
    def high_res(self) -> tuple[NDArray[np.float32], ...]:
        """No finer features."""
        return ()

    @property
    def source_shape(self) -> tuple[int, int]:
        """(rows, columns) of the slice."""
        return self.image.shape[0], self.image.shape[1]


class RemoteSegmenter:
    """The segmenter `name` of the server that `calls` go to (agent.ports.Segmenter).

    SegmenterAway where it cannot be asked or answers something else; SegmenterFailed where it
    failed on what it was asked.
    """

    def __init__(
        self, calls: RemoteCalls, name: str, supported_prompts: frozenset[PromptKind]
    ) -> None:
        self._calls, self.name, self.supported_prompts = calls, name, supported_prompts
        self._sent_images: set[str] = set()  # their hashes

    def encode(self, image: NDArray[np.float32]) -> SentSlice:
        """The slice, to be sent with its first prompt; the encoder runs there."""
        return SentSlice(np.ascontiguousarray(image, np.float32))

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        """The mask for prompts, drawn there."""
        return self.segment_many([PromptedSlice(encoding, prompts)])[0]

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """The masks for `asks`, in order, in as few calls as their images leave room for."""
        segmentations: list[Segmentation] = []
        while len(segmentations) < len(asks):
            segmentations += self._drawn(self._together(asks[len(segmentations) :]))
        return segmentations

    def _together(self, asks: Sequence[PromptedSlice]) -> Sequence[PromptedSlice]:
        """The first of `asks` that go in one call."""
        size_bytes, there = 0, set(self._sent_images)
        for number, ask in enumerate(asks[:MOST_ASKS]):
            image = _sent(ask.encoding)
            size_bytes += 0 if image.sha256 in there else len(image.content)
            there.add(image.sha256)
            if number and size_bytes > _LONGEST_CALL_BYTES:
                return asks[:number]
        return asks[:MOST_ASKS]

    def _drawn(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        images = [_sent(ask.encoding) for ask in asks]
        try:
            answer = self._asked(asks, self._sent_images)
        except UnknownToServer:  # it was begun anew, or had no room for the image any more
            self._sent_images.clear()
            answer = self._asked(asks, ())
        try:
            segmentations = [
                _segmentation(mask, image.source_shape)
                for mask, image in zip(answer["masks"], images, strict=True)
            ]
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise self._calls.away(f"answers what is no mask of the slice ({error})") from error
        self._sent_images.update(image.sha256 for image in images)
        return segmentations

    def _asked(
        self, asks: Sequence[PromptedSlice], known_images: Collection[str]
    ) -> Mapping[str, Any]:
        """All in one call; an image that is in `known_images`, or comes twice, by its hash."""
        there = set(known_images)
        bodies = []
        for ask in asks:
            image = _sent(ask.encoding)
            image_json = (
                {"image_sha256": image.sha256}
                if image.sha256 in there
                else {"image": _base64(image.content)}
            )
            there.add(image.sha256)
            bodies.append(image_json | _prompts_json(ask.prompts))
        request = {"segmenter": self.name, "logits": True, "asks": bodies}
        return self._calls.post("predict_many", request)


def open_remote_segmenter(
    url: str, *, name: str | None = None, token: str = "", retries: CallRetries = DEFAULT_RETRIES
) -> RemoteSegmenter:
    """The segmenter `name` (None: the server's own choice) of the server at `url`, such as
    http://host:8265. SegmenterAway where it is not there, or will not have the `token`.
    """
    calls = RemoteCalls(url, token, retries)
    trial = {"image": _base64(SentSlice(_TRIAL).content), "segmenter": name}
    session = calls.post("sessions", trial)
    try:
        number, called = str(session["id"]), str(session["segmenter"])
        kinds = frozenset(PromptKind(kind) for kind in session["understands"])
    except (KeyError, TypeError, ValueError) as error:
        raise calls.away(f"does not say which segmenter it has ({error})") from error
    calls.delete(f"sessions/{number}")
    return RemoteSegmenter(calls, called, kinds)


def _sent(encoding: Encoding) -> SentSlice:
    if not isinstance(encoding, SentSlice):
        raise SegmenterFailed("this encoding was made by another segmenter")
    return encoding


def _prompts_json(prompts: Prompts) -> dict[str, Any]:
    """Prompts as the API takes them; ValueError for those that it does not take."""
    content_json: dict[str, Any] = {"text": prompts.text}
    if prompts.box is not None:
        box = prompts.box
        content_json["box"] = [float(side) for side in (box.x0, box.y0, box.x1, box.y1)]
    content_json["points"] = [
        {"x": float(point.x), "y": float(point.y), "positive": bool(point.positive)}
        for point in prompts.points
    ]
    if prompts.previous_logits is not None:
        logits = np.ascontiguousarray(prompts.previous_logits, "<f4")
        content_json["previous_logits"] = {"shape": logits.shape, "data": _base64(logits.tobytes())}
    if prompts.mask is not None:
        buffer = io.BytesIO()
        Image.fromarray(prompts.mask.astype(np.uint8) * 255).save(buffer, "PNG")
        content_json["mask"] = _base64(buffer.getvalue())
    return content_json


def _segmentation(content_json: Mapping[str, Any], shape: tuple[int, int]) -> Segmentation:
    """An answer as the segmenter gave it there; ValueError for one of another shape."""
    with Image.open(io.BytesIO(base64.b64decode(content_json["mask"]["data"]))) as picture:
        mask = np.asarray(picture) > 0
    if mask.shape != shape:
        raise ValueError(f"it is {mask.shape}, the slice is {shape}")
    logits = np.frombuffer(base64.b64decode(content_json["logits"]["data"]), "<f4")
    return Segmentation(
        mask,
        logits.reshape(content_json["logits"]["shape"]).astype(np.float32),
        float(content_json["predicted_iou"]),
        int(content_json["choice"]),
        tuple(float(iou) for iou in content_json["candidate_ious"]),
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
