"""/studies: what has arrived, why it matches a route or does not, and asking for structures."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from server.errors import ServerError
from server.http.problems import kind_of
from server.pages.dependencies import (
    NewestFirst,
    PageActor,
    StudyUid,
    WithPageCalls,
    WithPages,
    listed,
)
from server.pages.faults import sentence
from server.pages.forms import Form, SentForm, field
from server.pages.ports import PageServices
from server.pages.rendering import html
from server.record.views import Page
from server.rules.explained import explained

router = APIRouter()

PRIORITIES = {"urgent": 10, "normal": 50, "low": 90}
"""What a person may choose; lower comes first (1 to 1000)."""
MOST_COMPLETIONS = 20
MOST_REQUESTS = Page(50, newest=True)
MOST_VALUES = 5
"""Values of an attribute that the explanation of a route names."""
EMPTY_FIELDS = 4


@router.get("/studies")
def show_list(request: Request, pages: WithPages, page: NewestFirst) -> HTMLResponse:
    """The newest studies."""
    rows = listed(pages.services.record.studies(page))
    return html(
        request,
        "studies.html",
        studies=rows.rows,
        facts=pages.overview.facts({row.study_instance_uid for row in rows.rows}),
        first=page.after is None,
        older=rows.older,
    )


@router.get("/studies/{study_instance_uid}")
def show(request: Request, study_instance_uid: StudyUid, pages: WithPages) -> HTMLResponse:
    """One study, with a form that asks for structures in it."""
    return _study_page(request, pages, study_instance_uid)


def _study_page(
    request: Request,
    pages: PageServices,
    study_instance_uid: str,
    refused: ServerError | None = None,
    form: Form | None = None,
) -> HTMLResponse:
    view = pages.services.record.study(study_instance_uid)
    attributes = pages.overview.attributes(study_instance_uid)
    targets = _targets(form or {})
    return html(
        request,
        "study.html",
        200 if refused is None else kind_of(refused).status,
        study=view,
        facts=pages.overview.facts([study_instance_uid]).get(study_instance_uid),
        requests=pages.overview.requests(MOST_REQUESTS, study_instance_uid=study_instance_uid),
        routes=[explained(route, attributes) for route in pages.site.routes] if attributes else [],
        most_values=MOST_VALUES,
        destinations=[site.settings.name for site in pages.services.destinations],
        labels=pages.site.structures.labels,
        priorities=PRIORITIES,
        refused=None if refused is None else sentence(str(refused)),
        targets=[*targets, *[""] * max(EMPTY_FIELDS - len(targets), 1)],
        priority=field(form or {}, "priority") or "normal",
        chosen=(form or {}).get("destination", ()),
    )


@router.post("/studies/{study_instance_uid}/requests")
def ask(
    request: Request,
    study_instance_uid: StudyUid,
    form: SentForm,
    pages: WithPages,
    actor: PageActor,
) -> Response:
    """Ask for what was filled in; the form again, with the reason, where it cannot be taken."""
    priority = PRIORITIES.get(field(form, "priority") or "normal")
    if priority is None:
        raise HTTPException(422, "There is no such priority: choose urgent, normal or low.")
    try:
        submitted = pages.services.record.submit(
            study_instance_uid,
            _targets(form),
            series_instance_uid=field(form, "series") or None,
            destinations=list(form["destination"]) if "destination" in form else None,
            priority=priority,
            force=field(form, "force") == "yes",
            actor=actor,
        )
    except ServerError as error:
        return _study_page(request, pages, study_instance_uid, error, form)
    return RedirectResponse(f"/requests/{submitted.id}", 303)


def _targets(form: Form) -> list[str]:
    return [text.strip() for text in form.get("target", ()) if text.strip()]


@router.post("/studies/{study_instance_uid}/complete")
async def complete(
    study_instance_uid: StudyUid, pages: WithPages, calls: WithPageCalls, actor: PageActor
) -> Response:
    """Hold the study for whole now, without waiting for its quiet time."""
    record = pages.services.record
    await calls.completions.run(lambda: record.complete(study_instance_uid, actor=actor))
    return RedirectResponse(f"/studies/{study_instance_uid}", 303)


@router.post("/studies/{study_instance_uid}/route")
def route(study_instance_uid: StudyUid, pages: WithPages, actor: PageActor) -> Response:
    """Apply the present routes to the study, as if it arrived now."""
    pages.services.record.route(study_instance_uid, actor=actor)
    return RedirectResponse(f"/studies/{study_instance_uid}", 303)


@router.get("/structures")
def structures(pages: WithPages, begin: Annotated[str, Query(max_length=200)] = "") -> JSONResponse:
    """Names that begin so, and what the text stands for as it is, for the form's completion."""
    names = pages.site.structures
    return JSONResponse(
        {
            "means": list(names.labels_of(begin)) if begin.strip() else [],
            "names": [
                {"name": entry.name, "labels": list(entry.labels)}
                for entry in names.beginning(begin, MOST_COMPLETIONS)
            ],
        }
    )
