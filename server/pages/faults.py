"""Errors as pages: the statuses of the API, in a sentence that says what to do."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

import agent.errors as agent_errors
import dicom_node.errors as dicom_errors
import models.errors as model_errors
import server.errors as server_errors
from server.http.problems import kind_of
from server.pages.rendering import html

_TITLES = {
    HTTPStatus.NOT_FOUND: "There is no such page",
    HTTPStatus.METHOD_NOT_ALLOWED: "This cannot be done here",
}
_SENTENCES = {
    HTTPStatus.NOT_FOUND: "Nothing is at this address. The menu above leads to what there is.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address is for a form, or for looking, not for both.",
}


def handle_faults(app: FastAPI) -> None:
    """Let every error that leaves a route become a page."""
    for root in (
        server_errors.ServerError,
        dicom_errors.DicomNodeError,
        agent_errors.AgentError,
        model_errors.ModelsError,
    ):
        app.add_exception_handler(root, _from_error)
    app.exception_handler(RequestValidationError)(_from_validation)
    app.exception_handler(HTTPException)(_from_http)
    app.add_exception_handler(Exception, _from_unexpected)


async def _from_error(request: Request, error: Exception) -> HTMLResponse:
    kind = kind_of(error)
    return html(request, "fault.html", kind.status, title=kind.title, sentence=sentence(str(error)))


async def _from_validation(request: Request, error: RequestValidationError) -> HTMLResponse:
    # never with what was given: it may be anything
    if any(fault["loc"][0] == "path" for fault in error.errors()):
        return await _from_http(request, HTTPException(HTTPStatus.NOT_FOUND))
    names = ", ".join(dict.fromkeys(str(fault["loc"][-1]) for fault in error.errors()))
    return html(
        request,
        "fault.html",
        422,
        title="The address is not right",
        sentence=f"These pages cannot use what the address gives for: {names}.",
    )


async def _from_http(request: Request, error: HTTPException) -> HTMLResponse:
    status = HTTPStatus(error.status_code)
    detail = _SENTENCES.get(status, error.detail) if error.detail == status.phrase else error.detail
    title = _TITLES.get(status, "This cannot be used")
    return html(request, "fault.html", status, title=title, sentence=sentence(str(detail)))


async def _from_unexpected(request: Request, _: Exception) -> HTMLResponse:
    # the server logs the traceback
    return html(
        request,
        "fault.html",
        500,
        title="The node failed",
        sentence="Something went wrong in the node; its log says what.",
    )


def sentence(text: str) -> str:
    """A message as a sentence for a page.

    >>> sentence("there is no request 'x'")
    "There is no request 'x'."
    """
    whole = text.strip()
    return whole[:1].upper() + whole[1:] + ("" if whole.endswith((".", "!", "?")) else ".")
