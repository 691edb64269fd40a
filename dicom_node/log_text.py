"""Records of a log, each on one line: as text for people, or as a JSON object for programs.

What peers and files say is escaped: a title or UID may hold any byte, and a line feed in it would
begin a line that looks like our own.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

# C0, DEL, C1, the separators that some viewers break lines at, and the marks that turn the
# direction of writing
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LONGEST = 200
LINE_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
FORMAT_VARIABLE = "CHILD_LOG_FORMAT"
"""The environment variable that tells a process which reads no settings its LogFormat."""
_SUBJECT: ContextVar[Mapping[str, str]] = ContextVar("subject", default=MappingProxyType({}))
_log = logging.getLogger(__name__)


class LogFormat(StrEnum):
    """How a record is written."""

    TEXT = "text"
    JSON = "json"


def on_one_line(text: str) -> str:
    r"""`text` with every control character as its escape (a line feed as `\n`)."""
    return _UNFIT.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def quoted(text: str) -> str:
    """A peer's name or UID for a message: escaped, and cut where it is endless."""
    return on_one_line(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


class OneLineFormatter(logging.Formatter):
    """A formatter that keeps a record from looking like several.

    Messages are escaped, and tracebacks are indented.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name for it
        """The first line of a record."""
        record.message = on_one_line(record.message)
        return super().formatMessage(record)

    def formatException(  # noqa: N802 - logging's name for it
        self, ei: logging._SysExcInfoType | tuple[None, None, None]
    ) -> str:
        """A traceback: no line of it can be taken for the first of a record."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name for it
        """A stack, in the same way."""
        return _indented(super().formatStack(stack_info))


class JsonFormatter(logging.Formatter):
    """A formatter that makes a JSON object (RFC 8259) in ASCII of each record.

    Its members: `time` (ISO 8601 with the zone), `level`, `logger`, `message` (escaped as in a line
    of text, for whoever shows it), `process` (its number) and `part` (what it does for the node);
    `request` and `study` (the Study Instance UID) where the record is about one, `exception` and
    `stack` where it has one.
    """

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        """The object of a record, without an end of line."""
        members: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .astimezone()
            .isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": on_one_line(record.name),
            "message": on_one_line(record.getMessage()),
            "process": record.process,
            "part": self._part,
        }
        subject = {**_SUBJECT.get(), **getattr(record, "subject", {})}
        members.update((key, on_one_line(name)) for key, name in subject.items())
        trace = record.exc_text
        if record.exc_info and not trace:
            trace = self.formatException(record.exc_info)
        for key, text in (("exception", trace), ("stack", record.stack_info)):
            if text:
                members[key] = "\n".join(map(on_one_line, text.split("\n")))
        return json.dumps(members)


def subject_of(*, request: str = "", study: str = "") -> Mapping[str, object]:
    """The `extra` of a record that is about a request, a study (its UID), or both."""
    return {"subject": _named(request, study)}


@contextmanager
def log_subject(*, request: str = "", study: str = "") -> Iterator[None]:
    """What this thread logs in the block is about a request, a study (its UID), or both."""
    token = _SUBJECT.set({**_SUBJECT.get(), **_named(request, study)})
    try:
        yield
    finally:
        _SUBJECT.reset(token)


def _named(request: str, study: str) -> dict[str, str]:
    return {key: name for key, name in (("request", request), ("study", study)) if name}


class _LineHandler(logging.StreamHandler[Any]):
    """The handler of a process's log."""

    def __init__(self) -> None:
        super().__init__()
        self.log_format = LogFormat.TEXT
        self.addFilter(_quotes_nobody)

    def write_as(self, log_format: LogFormat, part: str) -> None:
        """From here on."""
        self.log_format = log_format
        self.setFormatter(
            JsonFormatter(part) if log_format is LogFormat.JSON else OneLineFormatter(LINE_FORMAT)
        )


def log_lines(level: int, log_format: LogFormat = LogFormat.TEXT, part: str = "") -> None:
    """Log to the standard error stream, from `level` on, each record on a line of its own.

    It is called when a process starts; `part` is what JSON calls the process.
    """
    handler = _LineHandler()
    handler.write_as(log_format, part)
    logging.basicConfig(level=level, handlers=[handler])


def log_as_child(part: str) -> None:
    """Log warnings as the process does that started this one, in the format it said."""
    log_lines(logging.WARNING, LogFormat(os.environ.get(FORMAT_VARIABLE, LogFormat.TEXT)), part)


def log_as(log_format: LogFormat, part: str) -> None:
    """Go on in this format, after `log_lines`: a process learns of it from its settings. What ends
    a thread goes to the log, too.
    """
    for handler in _line_handlers():
        handler.write_as(log_format, part)
        threading.excepthook = log_end_of_thread


def current_log_format() -> LogFormat:
    """How this process logs."""
    return next((handler.log_format for handler in _line_handlers()), LogFormat.TEXT)


def log_end_of_thread(end: threading.ExceptHookArgs) -> None:
    """For threading.excepthook: a thread that ended by a fault is a record like any other."""
    if end.exc_value is not None:
        _log.error("a thread ended by a fault", exc_info=end.exc_value)


def _line_handlers() -> list[_LineHandler]:
    handlers = logging.getLogger().handlers
    return [handler for handler in handlers if isinstance(handler, _LineHandler)]


def _quotes_nobody(record: logging.LogRecord) -> bool:
    """Whether a message may be shown: pydicom quotes odd values, which may be a patient's.

    A filter and not a level, which pydicom sets anew when it is imported.
    """
    return record.name.partition(".")[0] != "pydicom"


def _indented(text: str) -> str:
    return "\n".join(f"  | {on_one_line(line)}" for line in text.split("\n"))
