"""Folders that are ours are private; those of others keep what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.files import private_folder


def test_a_folder_that_is_made_is_private(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "a" / "b")

    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o700])
def test_the_mode_of_a_folder_that_is_there_is_not_changed(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    folder.chmod(mode)

    private_folder(folder)

    assert folder.stat().st_mode & 0o777 == mode
