"""Errors for a log: where they arose, without the words of others.

Those may quote a value, a file or SQL.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.errors import AgentError
from dicom_node.errors import DicomNodeError
from models.errors import ModelsError
from server.errors import ServerError

_ROOT = Path(__file__).resolve().parent.parent
_MOST_FRAMES = 30
# ours name no patient; the others speak of code, memory and devices
_SPEAK = (
    AgentError,
    DicomNodeError,
    ModelsError,
    ServerError,
    AttributeError,
    ImportError,
    MemoryError,
    RuntimeError,
)
# what SQLAlchemy adds to an error's words, and PostgreSQL to its own
_STATEMENTS = ("\n[SQL", "\n[parameters", "\nDETAIL:", "\nLINE ", "\nCONTEXT:")


def bare_trace(error: BaseException) -> str:
    """An error and its causes in one line: names, code places (inmost first), safe words."""
    return "; from ".join(_described(link) for link in _chain(error))


def bare_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    """A log record with `bare_trace` and without SQL, for logging.setLogRecordFactory.

    This way it holds for every logger and handler of the process, also those of libraries.
    """
    record = logging.LogRecord(*args, **kwargs)
    if record.exc_info and record.exc_info[1] is not None:
        record.exc_text = bare_trace(record.exc_info[1])
        record.exc_info = None
    if isinstance(record.msg, str):
        record.msg = _without_statements(record.msg)
    if isinstance(record.args, tuple):
        record.args = tuple(
            bare_trace(argument)
            if isinstance(argument, BaseException) and not _speaks(argument)
            else argument
            for argument in record.args
        )
    return record


def _without_statements(text: str) -> str:
    ends = [text.index(mark) for mark in _STATEMENTS if mark in text]
    return text[: min(ends)] if ends else text


def _speaks(error: BaseException) -> bool:
    return isinstance(error, (*_SPEAK, OSError))


def _described(error: BaseException) -> str:
    name = type(error).__name__
    places = ", ".join(_places(error))
    if isinstance(error, OSError):
        # not the file: a person's folder may be called like a patient
        return f"{name}: {error.strerror} at {places}"
    if isinstance(error, _SPEAK):
        return f"{name}: {error} at {places}"
    return f"{name} at {places}"


def _places(error: BaseException) -> Iterator[str]:
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames[-_MOST_FRAMES:]):
        path = Path(frame.filename)
        place = path.relative_to(_ROOT) if path.is_relative_to(_ROOT) else Path(*path.parts[-2:])
        yield f"{place}:{frame.lineno} {frame.name}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    visited: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in visited:
        visited.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
