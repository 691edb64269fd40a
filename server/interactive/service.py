"""What the segmentation API does, apart from HTTP: sessions, and single predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.actions import AddBox, AddPoint
from agent.ports import Encoding, PromptedSlice
from agent.values import Box, Point, PromptKind, Prompts, Segmentation
from server.errors import BadPrompt
from server.interactive.bounds import Bounds
from server.interactive.drawing import SegmenterPool, SegmenterService
from server.interactive.encodings import Encodings
from server.interactive.images import ImageName
from server.interactive.memory import MemoryAccount
from server.interactive.schemas import (
    PointJson,
    PredictIn,
    PredictManyIn,
    PredictStateIn,
    PromptedImageIn,
    SessionOut,
)
from server.interactive.store import Session, SessionStore
from server.interactive.wire import image_of, logits_of, mask_of, share


@dataclass(frozen=True)
class Service:
    """Everything that the routes need."""

    bounds: Bounds
    segmenters: SegmenterPool
    encodings: Encodings
    store: SessionStore
    account: MemoryAccount

    def predict(
        self, segmenter: SegmenterService, body: PredictIn
    ) -> tuple[Segmentation, ImageName]:
        """A mask from everything at once, and what the image is known by."""
        image = image_of(body.image, body.view_of(body.text))
        encoding = segmenter.encoding_of(image)
        prompts = self._with_mask(segmenter, encoding.source_shape, body)
        return segmenter.draw_together([PromptedSlice(encoding, prompts)])[0], image.name

    def predict_with_state(
        self, segmenter: SegmenterService, body: PredictStateIn
    ) -> tuple[Segmentation, ImageName]:
        """A mask from all prompts and the last logits, on an image sent now or earlier.

        The second value is what the image is known by.
        """
        encoding, name = self._encoding(segmenter, body, {})
        prompts = self._prompts(segmenter, encoding.source_shape, body)
        return segmenter.draw_together([PromptedSlice(encoding, prompts)])[0], name

    def predict_many(
        self, segmenter: SegmenterService, body: PredictManyIn
    ) -> list[tuple[Segmentation, ImageName]]:
        """A mask for each ask, in order, and what its image is known by; all in one run of the
        decoder.
        """
        of_this_call: dict[
            ImageName, Encoding
        ] = {}  # also one that there is no room to keep serves the call
        prompted, names = [], []
        for ask in body.asks:
            encoding, name = self._encoding(segmenter, ask, of_this_call)
            of_this_call[name] = encoding
            prompts = self._with_mask(segmenter, encoding.source_shape, ask)
            prompted.append(PromptedSlice(encoding, prompts))
            names.append(name)
        return list(zip(segmenter.draw_together(prompted), names, strict=True))

    def _encoding(
        self,
        segmenter: SegmenterService,
        body: PredictStateIn | PromptedImageIn,
        of_this_call: Mapping[ImageName, Encoding],
    ) -> tuple[Encoding, ImageName]:
        """The encoding of an image, and what it is known by: sent now, named before in this
        call, or kept from an earlier one.
        """
        if (body.image is None) == (body.image_sha256 is None):
            raise BadPrompt("give either the image or its image_sha256")
        view = body.view_of(body.text)
        if body.image is None:
            name = ImageName(str(body.image_sha256), view)
            return of_this_call.get(name) or segmenter.encoding_of(name), name
        image = image_of(body.image, view)
        return segmenter.encoding_of(image), image.name

    def _with_mask(
        self, segmenter: SegmenterService, shape: tuple[int, int], body: PredictIn | PromptedImageIn
    ) -> Prompts:
        """All prompts of a request, the outline to start from among them."""
        prompts = self._prompts(segmenter, shape, body)
        if body.mask is None:
            return prompts
        segmenter.require(PromptKind.MASK)
        mask_image = image_of(body.mask)
        with self.account.reserved(mask_image.working_bytes(self.bounds.max_image_pixels)):
            mask = mask_of(mask_image, shape, self.bounds.max_image_pixels)
        return replace(prompts, mask=mask)

    def _prompts(
        self,
        segmenter: SegmenterService,
        shape: tuple[int, int],
        body: PredictIn | PredictStateIn | PromptedImageIn,
    ) -> Prompts:
        """All prompts of a request, by the same rules as one after the other in a session."""
        if len(body.points) >= self.bounds.max_prompts:
            raise BadPrompt(f"a mask takes {self.bounds.max_prompts} boxes and clicks at most")
        if body.text:
            segmenter.require(PromptKind.TEXT)
        prompts = Prompts(text=body.text)
        if body.box is not None:
            prompts = segmenter.add(prompts, AddBox(box_of(body.box)), shape)
        for point in body.points:
            prompts = segmenter.add(prompts, AddPoint(point_of(point)), shape)
        if body.previous_logits is not None:
            logits = logits_of(body.previous_logits, segmenter.logits_shape)
            goes_on = PromptKind.MASK in segmenter.supported_prompts
            prompts = replace(prompts, previous_logits=logits if goes_on else None)
        return prompts


def open_service(
    bounds: Bounds,
    names: Sequence[str],
    open_segmenter: Callable[[str, Encodings, MemoryAccount], SegmenterService],
    clock: Callable[[], float],
) -> Service:
    """The service over segmenters of these names, the default first.

    `open_segmenter` is called once for each.
    """
    encodings = Encodings(bounds.memory_bytes // 2)
    account = MemoryAccount(bounds.working_bytes)
    segmenters = SegmenterPool(names, lambda name: open_segmenter(name, encodings, account))
    return Service(bounds, segmenters, encodings, SessionStore(bounds, clock), account)


def box_of(corners: tuple[float, float, float, float]) -> Box:
    """A box from (left, top, right, bottom) in pixels; BadPrompt."""
    try:
        return Box(*corners)
    except ValueError as error:
        raise BadPrompt(str(error)) from error


def point_of(point: PointJson) -> Point:
    """A click in pixels."""
    return Point(point.x, point.y, point.positive)


def session_out(session: Session) -> SessionOut:
    """Where a session stands, as JSON."""
    with session.lock:
        state, steps = session.state, len(session.past)
    box, points = state.prompts.box, state.prompts.points
    return SessionOut(
        id=session.id,
        segmenter=session.segmenter.name,
        understands=tuple(k.value for k in PromptKind if k in session.segmenter.supported_prompts),
        image_sha256=session.image.sha256,
        shown=session.shown,
        shape=session.shape,
        target=session.target,
        box=(box.x0, box.y0, box.x1, box.y1) if box is not None else None,
        points=tuple(PointJson(x=p.x, y=p.y, positive=p.positive) for p in points),
        steps=steps,
        segmented=state.answered,
        predicted_iou=None
        if state.segmentation is None
        else share(state.segmentation.predicted_iou),
    )
