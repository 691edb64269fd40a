"""Errors on the wire: problem details (RFC 9457), a row of one table for each kind of error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import Scope

import agent.errors as agent_errors
import dicom_node.errors as dicom_errors
import models.errors as model_errors
import server.errors as server_errors
from server.http.headers import ALWAYS

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
"""How long a client should wait: PostgreSQL is up again in a few seconds, or not soon, and a busy
process has room.
"""


@dataclass(frozen=True)
class Kind:
    """A kind of problem: its HTTP status, the end of its type URN, its title."""

    status: HTTPStatus
    name: str
    title: str


_INTERNAL = Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The node failed")
_NOT_A_VOLUME = Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "not-a-volume", "The series is no volume")
_NOT_DELIVERED = Kind(
    HTTPStatus.BAD_GATEWAY, "destination", "A destination did not answer as it should"
)
_BAD_INPUT = Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "bad-input", "The input cannot be used")
BAD_REQUEST = Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "bad-request", "The request is not valid")
UNAUTHORIZED = Kind(HTTPStatus.UNAUTHORIZED, "unauthorized", "A valid token is needed")
NOT_READY = Kind(HTTPStatus.SERVICE_UNAVAILABLE, "not-ready", "The node cannot work now")
_STUDY_INCOMPLETE = Kind(HTTPStatus.CONFLICT, "study-incomplete", "The study is still arriving")

PROBLEMS: Mapping[type[Exception], Kind] = {
    server_errors.ServerError: _INTERNAL,
    server_errors.ConfigurationError: _INTERNAL,
    server_errors.RequestError: BAD_REQUEST,
    server_errors.NoTargets: Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "no-targets", "Nothing was asked for"
    ),
    server_errors.BadTarget: Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "bad-target", "A target cannot be used"
    ),
    server_errors.TooManyTargets: Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "too-many-targets", "Too many targets"
    ),
    server_errors.UnknownDestination: Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "unknown-destination", "No such destination"
    ),
    server_errors.UnknownStudy: Kind(HTTPStatus.NOT_FOUND, "unknown-study", "No such study"),
    server_errors.UnknownRequest: Kind(HTTPStatus.NOT_FOUND, "unknown-request", "No such request"),
    server_errors.UnknownTurn: Kind(HTTPStatus.NOT_FOUND, "unknown-turn", "No such turn"),
    server_errors.StudyIncomplete: _STUDY_INCOMPLETE,
    server_errors.WrongState: Kind(
        HTTPStatus.CONFLICT, "wrong-state", "The state does not allow this"
    ),
    server_errors.UnknownSession: Kind(HTTPStatus.NOT_FOUND, "unknown-session", "No such session"),
    server_errors.TooManySessions: Kind(
        HTTPStatus.TOO_MANY_REQUESTS, "too-many-sessions", "No more sessions are taken now"
    ),
    server_errors.TooManyCalls: Kind(
        HTTPStatus.TOO_MANY_REQUESTS, "too-many-calls", "Too many calls of this kind at once"
    ),
    server_errors.NothingToUndo: Kind(
        HTTPStatus.CONFLICT, "nothing-to-undo", "There is nothing to undo"
    ),
    server_errors.BadPrompt: Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "bad-prompt", "The prompt cannot be used"
    ),
    server_errors.BadImage: Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "bad-image", "The image cannot be used"
    ),
    server_errors.ImageTooLarge: Kind(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "image-too-large", "The image is too large"
    ),
    server_errors.UnknownImage: Kind(HTTPStatus.NOT_FOUND, "unknown-image", "No such image"),
    server_errors.RunEnded: Kind(HTTPStatus.CONFLICT, "run-ended", "The work was dropped"),
    server_errors.NothingToReport: _INTERNAL,
    server_errors.OutlineLost: _INTERNAL,
    server_errors.ReplayError: _BAD_INPUT,
    server_errors.TurnsGone: Kind(
        HTTPStatus.GONE, "turns-gone", "The turn cannot be drawn any more"
    ),
    server_errors.PictureFailed: Kind(
        HTTPStatus.INTERNAL_SERVER_ERROR, "picture-failed", "The picture could not be drawn"
    ),
    server_errors.DemoFailed: _INTERNAL,
    server_errors.InputError: _BAD_INPUT,
    server_errors.NodeUnreachable: Kind(HTTPStatus.BAD_GATEWAY, "node", "No node answers"),
    server_errors.RecordError: _INTERNAL,
    server_errors.RecordRefused: Kind(
        HTTPStatus.INTERNAL_SERVER_ERROR, "record-refused", "The database refused this"
    ),
    server_errors.RecordUnavailable: Kind(
        HTTPStatus.SERVICE_UNAVAILABLE, "record-unavailable", "The database does not answer"
    ),
    dicom_errors.DicomNodeError: _INTERNAL,
    dicom_errors.InboxError: _INTERNAL,
    dicom_errors.StorageFull: Kind(
        HTTPStatus.INSUFFICIENT_STORAGE, "storage-full", "No room is left"
    ),
    dicom_errors.UnreadableDataset: _BAD_INPUT,
    dicom_errors.FaultyDataset: _BAD_INPUT,
    dicom_errors.WrongUids: _BAD_INPUT,
    dicom_errors.NotAVolume: _NOT_A_VOLUME,
    dicom_errors.NoUsableSeries: _NOT_A_VOLUME,
    dicom_errors.UndecodablePixels: _NOT_A_VOLUME,
    dicom_errors.UnusableValue: _NOT_A_VOLUME,
    dicom_errors.UnusableAnnotation: _INTERNAL,
    dicom_errors.ResultMismatch: _INTERNAL,
    dicom_errors.DeliveryError: _NOT_DELIVERED,
    dicom_errors.TransientDeliveryError: _NOT_DELIVERED,
    dicom_errors.PermanentDeliveryError: _NOT_DELIVERED,
    agent_errors.AgentError: _INTERNAL,
    agent_errors.UnknownTarget: Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "unknown-target", "Unknown target"
    ),
    agent_errors.UnsuitedImage: Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "unsuited-image", "Another kind of image"
    ),
    agent_errors.SegmenterFailed: Kind(
        HTTPStatus.INTERNAL_SERVER_ERROR, "segmenter-failed", "The segmenter failed"
    ),
    agent_errors.ChatFailed: Kind(HTTPStatus.BAD_GATEWAY, "language-model", "No answer"),
    agent_errors.NoAnswer: _INTERNAL,
    agent_errors.BadPrompts: _INTERNAL,
    agent_errors.BadTrace: _INTERNAL,
    agent_errors.ReplayDiffers: _INTERNAL,
    model_errors.ModelsError: _INTERNAL,
    model_errors.UnknownModel: Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "unknown-model", "No such model"
    ),
    model_errors.WeightsMissing: Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "weights-missing", "The weights are not here"
    ),
    model_errors.LanguageMisconfigured: Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "no-language-model", "No language model is configured"
    ),
    model_errors.PromptNotUnderstood: Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY, "prompt-not-understood", "The segmenter cannot use this"
    ),
    model_errors.UnreadableFile: _BAD_INPUT,
}


def kind_of(error: Exception) -> Kind:
    """The row of an error's class, or of the nearest class above it."""
    return next((PROBLEMS[row] for row in type(error).__mro__ if row in PROBLEMS), _INTERNAL)


def problem(
    scope: Scope, kind: Kind, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """A problem as the answer to the request of `scope`.

    `more` has members beyond the RFC's five.
    """
    body = {
        "type": f"urn:segnode:problem:{kind.name}",
        "title": kind.title,
        "status": kind.status.value,
        "detail": _sendable(detail),
        "instance": quote(scope["path"]),
        **more,
    }
    # here too: what goes wrong in a middleware is answered outside of all of them
    return JSONResponse(body, kind.status, {**(headers or {}), **ALWAYS}, MEDIA_TYPE)


def handle_problems(app: FastAPI) -> None:
    """Let every error that leaves a route become a problem."""
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


async def _from_error(request: Request, error: Exception) -> JSONResponse:
    kind = kind_of(error)
    headers = {}
    if kind.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return problem(request.scope, kind, str(error), headers)


async def _from_validation(request: Request, error: RequestValidationError) -> JSONResponse:
    # never with what was sent: a body may hold anything
    faults = [{"at": _place(fault["loc"]), "fault": fault["msg"]} for fault in error.errors()[:20]]
    detail = "; ".join(f"{fault['at']}: {fault['fault']}" for fault in faults[:3])
    return problem(request.scope, BAD_REQUEST, detail, errors=faults)


async def _from_http(request: Request, error: HTTPException) -> JSONResponse:
    # what the framework itself finds: no such path, wrong method, a body too long or no JSON
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return problem(request.scope, BAD_REQUEST, f"{error.detail}; send JSON in UTF-8")
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        # the framework names the methods of the first route only
        headers["Allow"] = ", ".join(_methods(request)) or headers.get("Allow", "GET")
    kind = Kind(status, status.phrase.lower().replace(" ", "-"), status.phrase)
    detail = error.detail if error.detail != status.phrase else _hint(request, status)
    return problem(request.scope, kind, str(detail), headers)


async def _from_unexpected(request: Request, _: Exception) -> JSONResponse:
    # the server logs the traceback; the peer learns only that it was not to blame
    return problem(request.scope, _INTERNAL, "the node failed; its log says why")


def _methods(request: Request) -> list[str]:
    described = cast("FastAPI", request.app).openapi()["paths"]
    return sorted(
        method.upper()
        for path, operations in described.items()
        if compile_path(path)[0].match(request.url.path)
        for method in operations
    )


def _hint(request: Request, status: HTTPStatus) -> str:
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"{request.method} is not allowed here"
    described = cast("FastAPI", request.app).openapi_url
    return f"{status.phrase}: the API is described at {described}"


def _place(loc: Sequence[Any]) -> str:
    return _sendable(".".join(str(part) for part in loc))[:200]


def _sendable(text: str) -> str:
    # JSON may bring half a surrogate pair, which UTF-8 cannot send back
    return text.encode("utf-8", "replace").decode("utf-8")
