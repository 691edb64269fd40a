"""What peers write never begins a line of the log."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dicom_node.log_text import (
    FORMAT_VARIABLE,
    LINE_FORMAT,
    JsonFormatter,
    OneLineFormatter,
    log_subject,
    on_one_line,
    quoted,
    subject_of,
)

FORGED = "A\n2026-01-01 00:00:00,000 INFO server: a line of its own"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SCANNER", "SCANNER"),
        ("Müller", "Müller"),
        ("A\nB\rC\0D\x1b[2J", "A\\nB\\rC\\x00D\\x1b[2J"),
        ("A\x85B\u2028C\u202eD", "A\\x85B\\u2028C\\u202eD"),
    ],
)
def test_control_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert on_one_line(text) == shown


def test_what_is_endless_is_cut() -> None:
    assert len(quoted("1." * 4000)) < 250


def formatted(*arguments: object, **options: Any) -> list[str]:
    record = logging.LogRecord("name", logging.INFO, "path", 1, "title %s", arguments, **options)
    return OneLineFormatter(LINE_FORMAT).format(record).split("\n")


def test_a_message_is_one_line() -> None:
    (line,) = formatted(FORGED, exc_info=None)

    assert line.endswith("title A\\n2026-01-01 00:00:00,000 INFO server: a line of its own")


def test_no_line_of_a_traceback_can_be_taken_for_a_record() -> None:
    try:
        raise ValueError(FORGED)
    except ValueError:
        first, *rest = formatted("T", exc_info=sys.exc_info())

    assert first.endswith("title T")
    assert len(rest) > 2
    assert all(line.startswith("  | ") for line in rest)


def test_a_process_that_logs_lines_logs_one_a_record(repository: Path) -> None:
    program = "import logging, sys; from dicom_node.log_text import log_lines; log_lines(20); "
    program += "logging.getLogger('peer').info('association of %s', sys.argv[1])"

    done = subprocess.run(
        [sys.executable, "-c", program, FORGED],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stderr.count("\n") == 1
    assert "association of A\\n2026" in done.stderr


def as_json(
    *arguments: object, extra: Any = None, logger: str = "server.work", **options: Any
) -> dict[str, Any]:
    """The object of a record, after it was one line of ASCII."""
    record = logging.LogRecord(logger, logging.WARNING, "path", 1, "of %s", arguments, **options)
    record.__dict__.update(extra or {})
    line = JsonFormatter("work").format(record)
    assert line.isascii()
    assert line.isprintable()
    members: dict[str, Any] = json.loads(line)
    return members


def test_a_record_is_an_object_with_time_and_zone() -> None:
    before = datetime.now().astimezone()

    members = as_json("Müller", exc_info=None)

    time = datetime.fromisoformat(members.pop("time"))
    assert time.utcoffset() == before.utcoffset()
    assert abs((time - before).total_seconds()) < 10
    assert members == {
        "level": "WARNING",
        "logger": "server.work",
        "message": "of Müller",
        "process": os.getpid(),
        "part": "work",
    }


def test_what_peers_write_is_escaped_in_an_object_too() -> None:
    """Whoever shows a message that was read from JSON shows one line."""
    extra = subject_of(study=FORGED, request="r\x1b[2J")

    members = as_json(FORGED, extra=extra, logger="a\nb", exc_info=None)

    assert members["message"].startswith("of A\\n2026-01-01")
    assert members["study"].startswith("A\\n2026-01-01")
    assert (members["request"], members["logger"]) == ("r\\x1b[2J", "a\\nb")


def test_an_exception_is_a_member() -> None:
    try:
        raise ValueError(FORGED)
    except ValueError:
        members = as_json("T", exc_info=sys.exc_info())

    assert members["message"] == "of T"
    first, *_, last = members["exception"].split("\n")
    assert first.startswith("Traceback")
    assert last.endswith("server: a line of its own")
    assert as_json("T", exc_info=None, extra={"exc_text": "bare at\x85place"})["exception"] == (
        "bare at\\x85place"
    )


def test_a_record_names_what_its_thread_works_on() -> None:
    elsewhere: list[dict[str, Any]] = []
    with log_subject(request="r1"), log_subject(study="1.2"):
        inside = as_json("T", exc_info=None)
        own = as_json("T", exc_info=None, extra=subject_of(request="r2"))
        thread = threading.Thread(target=lambda: elsewhere.append(as_json("T", exc_info=None)))
        thread.start()
        thread.join()
    outside = as_json("T", exc_info=None)

    assert (inside["request"], inside["study"]) == ("r1", "1.2")
    assert (own["request"], own["study"]) == ("r2", "1.2")
    assert not {"request", "study"} & ({*outside} | {*elsewhere[0]})


IN_JSON = """
import logging, threading
from dicom_node.log_text import LogFormat, current_log_format, log_as, log_lines
log_lines(logging.INFO)
before = current_log_format()
logging.getLogger("a").info("as text")
log_as(LogFormat.JSON, "api")
logging.getLogger("a").info("%s as %s", before, current_log_format())
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
"""


def test_a_process_goes_on_in_json(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_JSON], cwd=repository, capture_output=True, text=True, check=True
    )

    text, *objects = done.stderr.splitlines()
    assert text.endswith("INFO a: as text")
    first, second = map(json.loads, objects)
    assert (first["message"], first["part"]) == ("text as json", "api")
    assert second["message"] == "a thread ended by a fault"
    assert "ZeroDivisionError" in second["exception"]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_child_logs_as_its_parent_does(repository: Path, log_format: str) -> None:
    program = (
        "import logging; from dicom_node.log_text import log_as_child; log_as_child('headers')"
    )
    program += "; logging.info('no'); logging.warning('a line')"

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=repository,
        env={**os.environ, FORMAT_VARIABLE: log_format},
        capture_output=True,
        text=True,
        check=True,
    )

    (line,) = done.stderr.splitlines()
    if log_format == "json":
        assert {"message": "a line", "part": "headers"}.items() <= json.loads(line).items()
    else:
        assert line.endswith("WARNING root: a line")
