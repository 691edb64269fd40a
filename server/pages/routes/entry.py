"""/login and /logout."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from server.pages.dependencies import WithLogins
from server.pages.forms import SentForm, field
from server.pages.login import COOKIE, LIFETIME_S, safe_place
from server.pages.rendering import html

router = APIRouter()


@router.get("/login")
def ask(request: Request, place: Annotated[str, Query(alias="next")] = "/") -> HTMLResponse:
    """Ask for the token."""
    return html(request, "login.html", place=safe_place(place), wrong=False)


@router.post("/login")
def enter(request: Request, form: SentForm, logins: WithLogins) -> Response:
    """Let in who has a token."""
    place = safe_place(field(form, "next") or "/")
    cookie = logins.cookie(field(form, "token"))
    if cookie is None:
        return html(request, "login.html", 401, place=place, wrong=True)
    answer = RedirectResponse(place, 303)
    answer.set_cookie(
        COOKIE,
        cookie,
        max_age=LIFETIME_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout")
def leave() -> Response:
    """Forget who is logged in."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer
