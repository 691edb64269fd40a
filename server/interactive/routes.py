"""/sessions, /predict and /health.

Whatever takes time runs on a thread, so that the process always answers.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request, Response, status
from fastapi.concurrency import run_in_threadpool

from agent.actions import AddBox, AddPoint
from agent.values import Segmentation
from server.http.dependencies import Asker
from server.http.waiting import Counter
from server.interactive.drawing import SegmenterService
from server.interactive.images import ImageName
from server.interactive.schemas import (
    AskIn,
    BoxIn,
    HealthOut,
    PointJson,
    PredictIn,
    PredictManyIn,
    PredictStateIn,
    SegmentationOut,
    SegmentationsOut,
    SessionIn,
    SessionOut,
)
from server.interactive.service import Service, box_of, point_of, session_out
from server.interactive.store import Session
from server.interactive.wire import image_of, segmentation_out

sessions = APIRouter(prefix="/sessions", tags=["sessions"])
single = APIRouter(tags=["single masks"])
open_to_all = APIRouter(tags=["health"])


async def service(request: Request) -> Service:
    """What the API was made with."""
    return cast("Service", request.app.state.service)


WithService = Annotated[Service, Depends(service)]


def _session(session_id: str, service: WithService, actor: Asker) -> Session:
    return service.store.get(session_id, actor)


OwnSession = Annotated[Session, Depends(_session)]


async def _segmenter(request: Request, name: str | None) -> SegmenterService:
    """The segmenter of that name.

    Nobody but its own callers waits while it is loaded, and they hold no thread.
    """
    opened = cast("Service", request.app.state.service).segmenters.opened(name)
    if opened.done():
        return opened.result()
    with cast("Counter", request.app.state.loading).place():
        return await asyncio.wrap_future(opened)


@sessions.post("", status_code=status.HTTP_201_CREATED)
async def create(
    body: SessionIn, service: WithService, actor: Asker, request: Request, response: Response
) -> SessionOut:
    """Open a session on an image; the image goes through the encoder now, and once."""
    service.store.check_room()
    segmenter = await _segmenter(request, body.segmenter)
    session = await run_in_threadpool(
        lambda: service.store.open(
            actor, image_of(body.image, body.view_of(body.target)), segmenter, body.target
        )
    )
    response.headers["Location"] = f"{request.url.path}/{session.id}"
    return session_out(session)


@sessions.get("/{session_id}")
def show(session: OwnSession) -> SessionOut:
    """Where a session stands."""
    return session_out(session)


@sessions.delete("/{session_id}", status_code=status.HTTP_204_NO_CONTENT)
def close(session_id: str, service: WithService, actor: Asker) -> None:
    """End a session; one that nobody uses ends by itself."""
    service.store.close(session_id, actor)


@sessions.post("/{session_id}/boxes")
def add_box(body: BoxIn, session: OwnSession) -> SessionOut:
    """Draw a box; it replaces the earlier one. Nothing is segmented yet."""
    session.add(AddBox(box_of(body.box)))
    return session_out(session)


@sessions.post("/{session_id}/points")
def add_point(body: PointJson, session: OwnSession) -> SessionOut:
    """Click; it takes back earlier clicks of the opposite sign within 3 pixels.

    Nothing is segmented yet.
    """
    session.add(AddPoint(point_of(body)))
    return session_out(session)


@sessions.post("/{session_id}/undo")
def undo(session: OwnSession) -> SessionOut:
    """Take back the last box or click and its answer: prompts and logits are as before it."""
    session.undo()
    return session_out(session)


@sessions.post("/{session_id}/segment")
def segment(
    session: OwnSession, service: WithService, body: AskIn | None = None
) -> SegmentationOut:
    """Draw: all prompts so far together with the last logits.

    A call without a new prompt gives the same mask.
    """
    service.store.check_memory()
    segmentation, answer = session.segment(), body or AskIn()
    return segmentation_out(
        segmentation,
        session.image.sha256,
        answer.mask_format,
        shown=session.shown,
        with_logits=answer.logits,
    )


@single.post("/predict")
async def predict(body: PredictIn, service: WithService, request: Request) -> SegmentationOut:
    """One mask from an image and prompts; nothing is kept but the image's encoding, for a while."""
    segmenter = await _segmenter(request, body.segmenter)
    return await run_in_threadpool(
        lambda: _answer_out(segmenter, service.predict(segmenter, body), body)
    )


@single.post("/predict_with_state")
async def predict_with_state(
    body: PredictStateIn, service: WithService, request: Request
) -> SegmentationOut:
    """One mask, going on from the logits of the last.

    404 when an image named by its hash is not kept any more.
    """
    segmenter = await _segmenter(request, body.segmenter)
    return await run_in_threadpool(
        lambda: _answer_out(segmenter, service.predict_with_state(segmenter, body), body)
    )


@single.post("/predict_many")
async def predict_many(
    body: PredictManyIn, service: WithService, request: Request
) -> SegmentationsOut:
    """Masks of many prompts in one run of the decoder; each image is encoded once.

    404 when an image named by its hash is not kept any more: then nothing is drawn.
    """
    segmenter = await _segmenter(request, body.segmenter)
    answers = await run_in_threadpool(lambda: service.predict_many(segmenter, body))
    return SegmentationsOut(masks=tuple(_answer_out(segmenter, answer, body) for answer in answers))


def _answer_out(
    segmenter: SegmenterService, answer: tuple[Segmentation, ImageName], body: AskIn
) -> SegmentationOut:
    segmentation, name = answer
    return segmentation_out(
        segmentation,
        name.sha256,
        body.mask_format,
        shown=segmenter.words_of(name),
        with_logits=body.logits,
    )


@open_to_all.get("/health")
async def health(service: WithService) -> HealthOut:
    """The process answers; never waits for a model."""
    return HealthOut(
        status="ready",
        segmenters=service.segmenters.names,
        sessions=len(service.store),
        max_sessions=service.bounds.max_sessions,
        encodings_bytes=service.encodings.nbytes,
        encoder_passes=service.encodings.passes,
    )
