"""What peers write never begins a line of the log."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dicom_node.log_text import LINE_FORMAT, OneLineFormatter, on_one_line, quoted

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
