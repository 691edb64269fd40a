"""/destinations, /node, /undelivered and /setup: the site around the node, and how the node is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request
from fastapi.responses import HTMLResponse

from dicom_node.errors import DicomNodeError
from models.errors import ModelsError
from server.errors import ServerError
from server.http.echoing import echo
from server.http.readiness import OK, readiness
from server.nodes.heartbeat import free_bytes
from server.pages.dependencies import NewestFirst, PageActor, WithPageCalls, WithPages, listed
from server.pages.faults import sentence
from server.pages.ports import PageServices
from server.pages.rendering import html
from server.pages.words import OPEN_STATES
from server.record.views import Page
from server.values import RequestState

router = APIRouter()

WAITING = Page(50)
"""The oldest that wait, which come first unless others are more urgent."""


@router.get("/destinations")
def destinations(request: Request, pages: WithPages) -> HTMLResponse:
    """Where results can go, and which studies get which structures by themselves."""
    return _destinations_page(request, pages)


def _destinations_page(
    request: Request, pages: PageServices, status: int = 200, **answer: str
) -> HTMLResponse:
    return html(
        request,
        "destinations.html",
        status,
        destinations=[site.settings for site in pages.services.destinations],
        routes=pages.site.routes,
        node=pages.site.node,
        echo=answer or None,
    )


@router.post("/destinations/{name}/echo")
async def echo_to(
    request: Request,
    name: Annotated[str, Path(max_length=64)],
    pages: WithPages,
    calls: WithPageCalls,
    actor: PageActor,
) -> HTMLResponse:
    """C-ECHO to a destination: does it answer, and if not, why?"""
    destinations = {site.settings.name: site for site in pages.services.destinations}
    if name not in destinations:
        raise HTTPException(404, "No destination of this name is configured.")
    destination, waiting = destinations[name], pages.services.waiting
    try:
        answered = await calls.echoes.run(lambda: echo(destination, waiting, actor=actor))
    except DicomNodeError as error:
        return _destinations_page(
            request, pages, 502, name=name, fault=sentence(str(error)), answer=""
        )
    answer = f"It answers, after {answered.seconds:.2f} seconds."
    if answered.tried_now:
        answer += f" What waited for it is sent now: {answered.tried_now}."
    return _destinations_page(request, pages, name=name, fault="", answer=answer)


@router.get("/node")
def node(request: Request, pages: WithPages) -> HTMLResponse:
    """Queue, parts of the node, models and disk; also while the database is away."""
    state = readiness(pages.services)
    reachable = state.checks["database"] == OK
    waiting = pages.overview.requests(WAITING, states=[RequestState.QUEUED]) if reachable else ()
    working = pages.overview.requests(WAITING, states=OPEN_STATES[1:]) if reachable else ()
    uids = {request.study_instance_uid for request in (*waiting, *working)}
    return html(
        request,
        "node.html",
        checks=state.checks,
        ok=OK,
        parts=state.parts,
        waiting=sorted(waiting, key=lambda request: (request.priority, request.number)),
        working=working,
        facts=pages.overview.facts(uids) if reachable else {},
        counts=pages.services.counting.counts().requests if reachable else {},
        models=_models(pages),
        free_gb=free_bytes(pages.services.storage) / 1e9,
        minimum_gb=pages.services.minimum_free_bytes / 1e9,
        storage=pages.site.storage,
    )


def _models(pages: PageServices) -> str:
    try:
        return pages.site.models()
    except (ServerError, ModelsError) as error:
        return sentence(str(error))


@router.get("/undelivered")
def undelivered(request: Request, pages: WithPages, page: NewestFirst) -> HTMLResponse:
    """Results that no destination took after the last try."""
    rows = listed(pages.overview.requests(page, states=[RequestState.FAILED], undelivered=True))
    return html(
        request,
        "undelivered.html",
        requests=rows.rows,
        facts=pages.overview.facts({row.study_instance_uid for row in rows.rows}),
        first=page.after is None,
        older=rows.older,
    )


@router.get("/setup")
def set_up(request: Request, pages: WithPages) -> HTMLResponse:
    """What is set up, and what is missing."""
    return set_up_page(request, pages)


def set_up_page(request: Request, pages: PageServices) -> HTMLResponse:
    """What is set up and what is missing, as `segnode check` says it; no destination is asked."""
    state = readiness(pages.services)
    return html(
        request,
        "setup.html",
        node=pages.site.node,
        quiet_s=pages.site.quiet_s,
        destinations=[site.settings for site in pages.services.destinations],
        routes=pages.site.routes,
        models=_models(pages),
        checks=state.checks,
        ok=OK,
        free_gb=free_bytes(pages.services.storage) / 1e9,
        minimum_gb=pages.services.minimum_free_bytes / 1e9,
        any_study=state.checks["database"] == OK and bool(pages.services.record.studies(Page(1))),
    )
