"""/requests/ID: what was asked, turn by turn what was done, and what came of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

from server.errors import ServerError, WrongState
from server.http.dependencies import LARGEST_OFFSET
from server.http.problems import RETRY_AFTER_S, kind_of
from server.pages.dependencies import RequestId, WithPageCalls, WithPages
from server.pages.faults import sentence
from server.pages.ports import PageServices
from server.pages.rendering import html
from server.pages.words import STATES
from server.values import ENDED_STATES

router = APIRouter()

BLOCK = 300
"""Turns of one page: what a browser takes at once. A long run has several pages."""
MOST_LINES = 200
"""Of the audit trail."""


@router.get("/requests/{request_id}")
def show(
    request: Request,
    request_id: RequestId,
    pages: WithPages,
    turn: Annotated[int, Query(ge=1, le=LARGEST_OFFSET)] = 1,
) -> HTMLResponse:
    """A request's story, with one of its turns (counted from 1) as a picture."""
    view = pages.services.record.request(request_id)
    count = pages.overview.count_turns(request_id)
    if turn > max(count, 1):
        raise HTTPException(404, f"This request has {count} turns, and no turn {turn}.")
    first = (turn - 1) // BLOCK * BLOCK
    turns = pages.overview.turns(request_id, first, BLOCK)
    return html(
        request,
        "story.html",
        request=view,
        facts=pages.overview.facts([view.study_instance_uid]).get(view.study_instance_uid),
        ended=view.state in ENDED_STATES,
        turns=turns,
        current=turns[turn - 1 - first] if turns else None,
        number=turn,
        count=count,
        first=first,
        block=BLOCK,
        trail=pages.overview.trail(request_id, MOST_LINES),
        most_lines=MOST_LINES,
    )


@router.get("/requests/{request_id}/turns/{n}/picture.png")
async def picture(
    request_id: RequestId,
    n: Annotated[int, Path(ge=0, le=LARGEST_OFFSET)],
    pages: WithPages,
    calls: WithPageCalls,
) -> Response:
    """A turn, counted from 0 as in the API, of a request that has ended; else a sentence."""
    try:
        png = await calls.pictures.run(lambda: _drawn(pages, request_id, n))
    except ServerError as error:
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        return PlainTextResponse(sentence(str(error)), kind_of(error).status, headers)
    return Response(png, media_type="image/png")


def _drawn(pages: PageServices, request_id: str, n: int) -> bytes:
    services = pages.services
    turn = services.record.turn(request_id, n)
    state = services.record.request(request_id).state
    if state not in ENDED_STATES:
        raise WrongState(
            f"pictures of turns are drawn when a request has ended; this one: {STATES[state]}"
        )
    return services.pictures.png(request_id, turn.target_index, turn.turn)
