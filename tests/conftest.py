"""Fixtures every room's tests share: real data when it is there, and synthetic DICOM when it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real CT and MR with masks and odd DICOM, never committed: SEGNODE_SHARED_DATA or ../shared/data."""
    folder = Path(os.environ.get("SEGNODE_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set SEGNODE_SHARED_DATA)")
    return folder
