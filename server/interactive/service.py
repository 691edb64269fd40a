"""What the segmentation API does, apart from HTTP: sessions, and single predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from agent.actions import AddBox, AddPoint
from agent.values import Box, Point, PromptKind, Prompts, Segmentation
from server.errors import BadPrompt
from server.interactive.bounds import Bounds
from server.interactive.drawing import SegmenterPool, SegmenterService
from server.interactive.encodings import Encodings
from server.interactive.images import SentImage
from server.interactive.memory import MemoryAccount
from server.interactive.schemas import PointJson, PredictIn, PredictStateIn, SessionOut
from server.interactive.store import Session, SessionStore
from server.interactive.wire import image_of, logits_of, mask_of, share


@dataclass(frozen=True)
class Service:
    """Everything that the routes need."""

    bounds: Bounds
    drawers: SegmenterPool
    encodings: Encodings
    store: SessionStore
    account: MemoryAccount

    def predict(self, drawer: SegmenterService, asked: PredictIn) -> tuple[Segmentation, str]:
        """A mask from everything at once, and the image's SHA-256."""
        image = image_of(asked.image)
        shape = drawer.shape_of(image)
        prompts = self._prompts(drawer, shape, asked)
        if asked.mask is not None:
            drawer.require(PromptKind.MASK)
            sent = image_of(asked.mask)
            with self.account.reserved(sent.working_bytes(self.bounds.max_image_pixels)):
                outline = mask_of(sent, shape, self.bounds.max_image_pixels)
            prompts = replace(prompts, mask=outline)
        return drawer.draw(image, prompts), image.sha256

    def predict_with_state(
        self, drawer: SegmenterService, asked: PredictStateIn
    ) -> tuple[Segmentation, str]:
        """A mask from all prompts and the last logits, on an image sent now or earlier, and its
        SHA-256.
        """
        if (asked.image is None) == (asked.image_sha256 is None):
            raise BadPrompt("give either the image or its image_sha256")
        image: SentImage | str
        if asked.image is not None:
            image = image_of(asked.image)
            shape, sha256 = drawer.shape_of(image), image.sha256
        else:
            image = sha256 = str(asked.image_sha256)
            shape = drawer.shape_known(sha256)
        return drawer.draw(image, self._prompts(drawer, shape, asked)), sha256

    def _prompts(
        self, drawer: SegmenterService, shape: tuple[int, int], asked: PredictIn | PredictStateIn
    ) -> Prompts:
        """All prompts of a request, by the same rules as one after the other in a session."""
        if len(asked.points) >= self.bounds.max_prompts:
            raise BadPrompt(f"a mask takes {self.bounds.max_prompts} boxes and clicks at most")
        if asked.text:
            drawer.require(PromptKind.TEXT)
        prompts = Prompts(text=asked.text)
        if asked.box is not None:
            prompts = drawer.add(prompts, AddBox(box_of(asked.box)), shape)
        for point in asked.points:
            prompts = drawer.add(prompts, AddPoint(point_of(point)), shape)
        if asked.previous_logits is not None:
            logits = logits_of(asked.previous_logits, drawer.logits_shape)
            goes_on = PromptKind.MASK in drawer.supported_prompts
            prompts = replace(prompts, previous_logits=logits if goes_on else None)
        return prompts


def open_service(
    bounds: Bounds,
    names: Sequence[str],
    open_drawer: Callable[[str, Encodings, MemoryAccount], SegmenterService],
    clock: Callable[[], float],
) -> Service:
    """The service over segmenters of these names, the default first; `open_drawer` is called once
    for each.
    """
    encodings = Encodings(bounds.memory_bytes // 2)
    account = MemoryAccount(bounds.working_bytes)
    drawers = SegmenterPool(names, lambda name: open_drawer(name, encodings, account))
    return Service(bounds, drawers, encodings, SessionStore(bounds, clock), account)


def box_of(corners: tuple[float, float, float, float]) -> Box:
    """A box from (left, top, right, bottom) in pixels; BadPrompt."""
    try:
        return Box(*corners)
    except ValueError as error:
        raise BadPrompt(str(error)) from error


def point_of(sent: PointJson) -> Point:
    """A click in pixels."""
    return Point(sent.x, sent.y, sent.positive)


def session_out(session: Session) -> SessionOut:
    """Where a session stands, as JSON."""
    with session.lock:
        state, steps = session.state, len(session.past)
    box, points = state.prompts.box, state.prompts.points
    return SessionOut(
        id=session.id,
        segmenter=session.drawer.name,
        understands=tuple(k.value for k in PromptKind if k in session.drawer.supported_prompts),
        image_sha256=session.image.sha256,
        shape=session.shape,
        target=session.target,
        box=(box.x0, box.y0, box.x1, box.y1) if box is not None else None,
        points=tuple(PointJson(x=p.x, y=p.y, positive=p.positive) for p in points),
        steps=steps,
        segmented=state.answered,
        predicted_iou=None if state.drawn is None else share(state.drawn.predicted_iou),
    )
