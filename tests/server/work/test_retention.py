"""Masks of turns that are older than the site keeps them go; an audit line says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from server.record import audit
from server.work.retention import TurnMaskRetention
from tests.server.conftest import Desk

NOW_S, DAY_S = 2_000_000_000.0, 86_400.0


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Two requests' folders: one of ten days ago, one of yesterday."""
    for name, days in (("old", 10), ("new", 1)):
        folder = tmp_path / name
        folder.mkdir()
        for file in ("turns.masks", "trace.json"):
            (folder / file).write_bytes(b"x")
            os.utime(folder / file, (NOW_S, NOW_S - days * DAY_S))
    return tmp_path


def masks_in(work: Path) -> list[str]:
    return sorted(path.parent.name for path in work.glob("*/turns.masks"))


def test_older_masks_go_with_an_audit_line_and_all_else_stays(work: Path, desk: Desk) -> None:
    retention = TurnMaskRetention(desk.sessions, work, 3, now=lambda: NOW_S)

    assert retention.sweep() == ["old"]
    assert retention.sweep() == []

    assert masks_in(work) == ["new"]
    assert (work / "old" / "trace.json").is_file()
    with desk.sessions.begin() as session:
        lines = audit.read(session, limit=1000, offset=0, since=None)
    told = [line for line in lines if line.event == "turn_masks.deleted"]
    assert [(line.request_id, line.detail) for line in told] == [("old", {"days": 3})]


def test_no_days_keep_them_as_long_as_the_request(work: Path, desk: Desk) -> None:
    assert TurnMaskRetention(desk.sessions, work, 0, now=lambda: NOW_S).sweep() == []

    assert masks_in(work) == ["new", "old"]
