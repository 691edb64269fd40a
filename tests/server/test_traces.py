"""What a log may have of an error: its place, never the words of others."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
from sqlalchemy.exc import DataError

from dicom_node.errors import NotAVolume
from server.traces import bare_record, bare_trace

SECRET = "Miller^Anna"


def raised(error: Exception) -> Exception:
    """The error with a traceback."""
    try:
        raise error
    except type(error) as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"could not convert string to float: '{SECRET}'"),
        KeyError(SECRET),
        DataError(f"INSERT INTO t VALUES ('{SECRET}')", {"x": SECRET}, Exception(SECRET)),
        FileNotFoundError(2, "No such file or directory", f"/data/{SECRET}"),
        UnicodeEncodeError("utf-8", SECRET, 0, 1, "surrogates not allowed"),
    ],
)
def test_the_words_of_others_stay_out(error: Exception) -> None:
    trace = bare_trace(raised(error))

    assert SECRET not in trace
    assert "\n" not in trace
    assert f"{type(error).__name__}" in trace
    assert "tests/server/test_traces.py" in trace


def test_our_own_words_and_those_of_devices_are_told() -> None:
    assert "slice 3 is missing" in bare_trace(NotAVolume("slice 3 is missing"))
    assert "CUDA error" in bare_trace(RuntimeError("CUDA error"))


def test_causes_are_told_each_once() -> None:
    first, second = ValueError(SECRET), NotAVolume("no volume")
    second.__cause__, first.__cause__ = first, second

    assert bare_trace(second) == "NotAVolume: no volume at ; from ValueError at "


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What a library's own logger and handler write in a process of ours."""
    before, written = logging.getLogRecordFactory(), io.StringIO()
    logger, handler = logging.getLogger("library"), logging.StreamHandler(written)
    logging.setLogRecordFactory(bare_record)
    logger.addHandler(handler)
    yield written
    logger.removeHandler(handler)
    logging.setLogRecordFactory(before)


def test_no_logger_of_a_process_writes_a_value_or_a_statement(log: io.StringIO) -> None:
    logger = logging.getLogger("library")
    error = raised(DataError(f"SELECT '{SECRET}'", {"x": SECRET}, Exception("no")))

    try:
        raise ValueError(SECRET) from error
    except ValueError as caught:
        logger.exception("it failed")
        logger.warning("it failed: %s", caught)
        logger.warning(f"it failed: {error}")

    assert log.getvalue().count("it failed") == 3
    assert SECRET not in log.getvalue()
    assert "[SQL" not in log.getvalue()
    assert "test_traces.py" in log.getvalue()
