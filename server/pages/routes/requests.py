"""/: requests and how far they are; trying again and giving up."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from server.pages.dependencies import NewestFirst, PageActor, RequestId, WithPages, listed
from server.pages.forms import SentForm, field
from server.pages.login import safe_place
from server.pages.rendering import html
from server.pages.routes import site
from server.pages.words import OPEN_STATES
from server.record.views import Page
from server.values import RequestState

router = APIRouter()

LONGEST_UID = 64
OPEN = "open"
_NO_STUDY = Page(1)


@router.get("/")
def show(
    request: Request,
    pages: WithPages,
    page: NewestFirst,
    state: Annotated[str, Query()] = "",
    study: Annotated[str, Query()] = "",
) -> HTMLResponse:
    """The newest requests, of one state and one study where that is given.

    Where there is no study yet, what is set up and what is missing.
    """
    study = study.strip()
    rows = listed(
        pages.overview.requests(page, states=_states(state), study_instance_uid=_uid(study))
    )
    if not rows.rows and not pages.services.record.studies(_NO_STUDY):
        return site.set_up_page(request, pages)
    filters = {name: text for name, text in (("state", state), ("study", study)) if text}
    return html(
        request,
        "requests.html",
        requests=rows.rows,
        facts=pages.overview.facts({row.study_instance_uid for row in rows.rows}),
        counts=pages.services.counting.counts().requests,
        state=state,
        study=study,
        first=page.after is None,
        newest=_address(filters),
        older=None if rows.older is None else _address(filters | {"cursor": str(rows.older)}),
    )


def _states(text: str) -> tuple[RequestState, ...]:
    if not text:
        return ()
    if text == OPEN:
        return OPEN_STATES
    try:
        return (RequestState(text),)
    except ValueError:
        raise HTTPException(422, "There is no such state of a request.") from None


def _uid(text: str) -> str | None:
    if len(text) > LONGEST_UID or not text.isascii() or not text.isprintable() or " " in text:
        raise HTTPException(
            422, "This is no Study Instance UID: those are numbers and dots, 64 at most."
        )
    return text or None


def _address(query: dict[str, str]) -> str:
    return f"/?{urlencode(query)}" if query else "/"


@router.post("/requests/{request_id}/retry")
def retry(request_id: RequestId, form: SentForm, pages: WithPages, actor: PageActor) -> Response:
    """Begin again what failed, or try now what is waiting to be sent."""
    pages.services.record.retry(request_id, actor=actor)
    return _back(request_id, form)


@router.post("/requests/{request_id}/release")
def release(request_id: RequestId, form: SentForm, pages: WithPages, actor: PageActor) -> Response:
    """Send results that were held back until a person has looked at them."""
    pages.services.record.release(request_id, actor=actor)
    return _back(request_id, form)


@router.post("/requests/{request_id}/cancel")
def cancel(request_id: RequestId, form: SentForm, pages: WithPages, actor: PageActor) -> Response:
    """Give a request up."""
    pages.services.record.cancel(request_id, actor=actor)
    return _back(request_id, form)


def _back(request_id: str, form: SentForm) -> Response:
    place = field(form, "next")
    return RedirectResponse(safe_place(place) if place else f"/requests/{request_id}", 303)
