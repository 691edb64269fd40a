"""The segmenters of the process, each with its encodings, and checks of what they are asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
from cachetools import LRUCache

from agent.actions import AddBox, AddPoint, Malformed
from agent.episode.actions_to_prompts import apply_action, normalise_action, why_invalid
from agent.limits import Limits
from agent.ports import Encoding, PromptedSlice, Segmenter
from agent.values import Box, Point, PromptKind, Prompts, Segmentation
from models.errors import PromptNotUnderstood, UnknownModel
from server.errors import BadPrompt, UnknownImage
from server.interactive.encodings import Encodings
from server.interactive.images import ImageName, SentImage
from server.interactive.memory import MemoryAccount
from server.interactive.views import AS_SENT

UNDO_PX = Limits().undo_px
"""A click takes back one of the opposite sign within so many pixels, as in the agent's own
turns.
"""

_DRAWN_BYTES = 4 + 1 + 2
"""Bytes a pixel of an answer: its logits at the image's size, the mask, and the picture that is
sent of it.
"""

_TRIAL_SHAPE = (64, 64)
_MOST_VIEWS = 100_000  # what is said of so many images, some 100 bytes each


class SegmenterService:
    """One segmenter at work on images that clients send.

    As many threads may call it as may call the segmenter.

    `logits_shape` (h, w) is that of its low-resolution logits, learnt from a first trial, which
    also warms it up.
    """

    def __init__(
        self, segmenter: Segmenter, encodings: Encodings, account: MemoryAccount, max_pixels: int
    ) -> None:
        self._segmenter, self._encodings, self._max_pixels = segmenter, encodings, max_pixels
        self._account = account
        self._views: LRUCache[ImageName, str] = LRUCache(_MOST_VIEWS)
        self._views_lock = threading.Lock()
        self.name, self.supported_prompts = segmenter.name, segmenter.supported_prompts
        self.logits_shape = self._trial().logits.shape

    def shape_of(self, image: SentImage) -> tuple[int, int]:
        """(rows, columns) of an image, which is encoded on the way; ImageTooLarge, BadImage."""
        return self._encoding(image).source_shape

    def encoding_of(self, image: SentImage | ImageName) -> Encoding:
        """The encoding of an image, or of one that is named (else UnknownImage); ImageTooLarge,
        BadImage.
        """
        return self._kept(image) if isinstance(image, ImageName) else self._encoding(image)

    def words_of(self, name: ImageName) -> str:
        """How an image that was encoded is shown; UnknownImage for one that was not."""
        if name.view is None:
            return AS_SENT
        with self._views_lock:
            words = self._views.get(name)
        if words is None:
            raise _unknown_image()
        return words

    def draw(self, image: SentImage | ImageName, prompts: Prompts) -> Segmentation:
        """The mask for prompts on an image; raises what `encoding_of` and `draw_together` raise."""
        return self.draw_together([PromptedSlice(self.encoding_of(image), prompts)])[0]

    def draw_together(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """The masks for prompts on encoded images, in order.

        Raises PromptNotUnderstood when the segmenter cannot use them, BadPrompt where there are
        none, TooManyCalls when no memory is left for it.
        """
        if not all(_draws(ask.prompts) for ask in asks):
            raise BadPrompt("there is nothing to draw from: add a box or a click first")
        pixels = sum(
            rows * columns for rows, columns in (ask.encoding.source_shape for ask in asks)
        )
        with self._account.reserved(pixels * _DRAWN_BYTES):
            return self._segmenter.segment_many(asks)

    def add(self, prompts: Prompts, action: AddBox | AddPoint, shape: tuple[int, int]) -> Prompts:
        """`prompts` with one more box or click on an image of `shape` (rows, columns).

        Raises PromptNotUnderstood for a kind the segmenter cannot use, BadPrompt for a place
        outside the image.
        """
        kind = PromptKind.BOX if isinstance(action, AddBox) else PromptKind.POINT
        self.require(kind)
        sound = normalise_action(action)
        if isinstance(sound, Malformed):
            raise BadPrompt(sound.fault)
        fault = why_invalid(action, self.supported_prompts, shape)
        if fault is not None:
            raise BadPrompt(fault)
        return apply_action(prompts, action, UNDO_PX)

    def require(self, kind: PromptKind) -> None:
        """PromptNotUnderstood unless the segmenter can use prompts of this kind."""
        if kind not in self.supported_prompts:
            kinds = (kind.value for kind in PromptKind if kind in self.supported_prompts)
            raise PromptNotUnderstood(self.name, tuple(kinds))

    def going_on(self, prompts: Prompts, last: Segmentation | None) -> Prompts:
        """`prompts` with the logits of the last answer, for a segmenter that goes on from them."""
        goes_on = last is not None and PromptKind.MASK in self.supported_prompts
        return replace(prompts, previous_logits=last.logits if last and goes_on else None)

    def named(self, target: str) -> Prompts:
        """The prompts to begin with: the target's name for a segmenter that reads, else none."""
        return Prompts(text=target if PromptKind.TEXT in self.supported_prompts else "")

    def _encoding(self, image: SentImage) -> Encoding:
        def encode() -> Encoding:
            with self._account.reserved(image.working_bytes(self._max_pixels)):
                shown, words = image.shown(self._max_pixels)
                with self._views_lock:
                    self._views[image.name] = words
                return self._segmenter.encode(shown)

        return self._encodings.get((self.name, image.name), encode)

    def _kept(self, name: ImageName) -> Encoding:
        encoding = self._encodings.kept((self.name, name))
        if encoding is None:
            raise _unknown_image()
        return encoding

    def _trial(self) -> Segmentation:
        rows, columns = _TRIAL_SHAPE
        if PromptKind.BOX in self.supported_prompts:
            prompts = Prompts(Box(columns * 0.25, rows * 0.25, columns * 0.75, rows * 0.75))
        else:
            prompts = Prompts(points=(Point(columns / 2, rows / 2),))
        image = np.zeros(_TRIAL_SHAPE, dtype=np.float32)
        image[rows // 4 : -rows // 4, columns // 4 : -columns // 4] = 1.0
        return self._segmenter.segment(self._segmenter.encode(image), prompts)


def _unknown_image() -> UnknownImage:
    return UnknownImage("this image is not kept so, or no more: send it with the request")


def _draws(prompts: Prompts) -> bool:
    return bool(prompts.box or prompts.points or prompts.text or prompts.mask is not None)


class SegmenterPool:
    """The segmenters that clients may name, each opened at its first use.

    The first name is the default.

    One is opened after the other, on a thread of its own: those that are open are served all the
    while.
    """

    def __init__(
        self, names: Sequence[str], open_segmenter: Callable[[str], SegmenterService]
    ) -> None:
        self._names, self._open = tuple(names), open_segmenter
        self._opened: dict[str, Future[SegmenterService]] = {}
        self._lock = threading.Lock()
        self._opening = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """What may be asked for, the default first."""
        return self._names

    def get(self, name: str | None = None) -> SegmenterService:
        """The segmenter of that name, or the default, when it is open.

        UnknownModel lists the names.
        """
        return self.opened(name).result()

    def opened(self, name: str | None = None) -> Future[SegmenterService]:
        """The segmenter of that name, or the default, opened by one thread for all who ask.

        What goes wrong reaches all of them, and the next one tries again. UnknownModel lists the
        names.
        """
        key = name or self._names[0]
        if key not in self._names:
            raise UnknownModel("segmenter", key, self._names)
        with self._lock:
            opened = self._opened.get(key)
            if opened is not None:
                return opened
            opening: Future[SegmenterService] = Future()
            # a caller that gives up waiting cancels it for nobody else
            opening.set_running_or_notify_cancel()
            self._opened[key] = opening
        thread = threading.Thread(
            target=self._fill, args=(key, opening), name=f"open {key}", daemon=True
        )
        thread.start()
        return opening

    def _fill(self, name: str, opening: Future[SegmenterService]) -> None:
        try:
            with self._opening:
                segmenter = self._open(name)
        except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
            with self._lock:
                del self._opened[name]
            opening.set_exception(error)
        else:
            opening.set_result(segmenter)
