"""The cache of exported networks: the user's where it can be written, files whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.runtime.cache import default_cache_dir, shared_cache_dir, write_atomically


def test_the_default_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert default_cache_dir() == tmp_path / "segnode"


def test_one_cache_serves_every_storage_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))

    assert shared_cache_dir(tmp_path / "storage") == tmp_path / "home" / "segnode"


def test_a_service_without_a_home_has_its_own_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Arrange
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    # Act, Assert
    assert shared_cache_dir(tmp_path / "storage") == tmp_path / "storage"


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()

    with pytest.raises(IsADirectoryError):
        write_atomically(target, b"content")

    assert list(tmp_path.iterdir()) == [target]
