"""Cores: what a container grants, never more than the process sees, never none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from models.runtime.cores import usable_cores

SEEN = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", SEEN),  # no limit
        ("100000 100000", 1),
        ("50000 100000", 1),  # half a core is one thread
        ("1000000000 100000", SEEN),  # more than there are
        ("", SEEN),
        ("nonsense", SEEN),
    ],
)
def test_the_containers_quota_bounds_the_cores(tmp_path: Path, quota: str, cores: Any) -> None:
    (tmp_path / "cpu.max").write_text(quota)

    assert usable_cores(tmp_path / "cpu.max") == cores


def test_without_a_container_all_cores_are_used(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "gone") == SEEN
