"""Templates as answers: everything that goes into one is escaped."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from server.pages import words
from server.pages.headers import PAGE_HEADERS

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"


def html(request: Request, template: str, status: int = 200, /, **values: Any) -> HTMLResponse:
    """The page that `template` makes of `values`, for the one who asks."""
    text = (
        environment()
        .get_template(template)
        .render(
            actor=getattr(request.state, "actor", None),
            section=f"/{request.url.path.split('/')[1]}",
            **values,
        )
    )
    # here too: what goes wrong in a middleware is answered outside of all of them
    return HTMLResponse(text, status, PAGE_HEADERS)


@cache
def environment() -> Environment:
    """Where the templates are, and the words that they may use."""
    templates = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.globals.update(
        static=static_address,
        states=words.STATES,
        study_states=words.STUDY_STATES,
        statuses=words.STATUSES,
        deliveries=words.DELIVERIES,
        roles=words.ROLES,
        outcomes=words.OUTCOMES,
        open_states=words.OPEN_STATES,
    )
    templates.filters.update(
        moment=words.moment,
        volume=words.volume,
        action=words.action,
        place=words.place,
        study_title=words.study_title,
        progress_share=words.progress_share,
    )
    return templates


@cache
def static_address(name: str) -> str:
    """The address of a file of static/, which changes with its content."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{digest}/{name}"
