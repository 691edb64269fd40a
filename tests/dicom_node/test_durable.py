"""A file has its name only when it is whole, on disk and checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.durable import whole_file


def accept(path: Path) -> None:
    """Find nothing wrong."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_is_made_and_the_file_appears_with_its_content(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a" / "b" / "seg.dcm", accept) as temporary:
        temporary.write_bytes(b"whole")
        assert not (tmp_path / "a" / "b" / "seg.dcm").exists()

    assert (tmp_path / "a" / "b" / "seg.dcm").read_bytes() == b"whole"
    assert names(tmp_path / "a" / "b") == ["seg.dcm"]


def test_the_check_sees_the_bytes_before_they_have_their_name(tmp_path: Path) -> None:
    seen: list[tuple[bytes, bool]] = []

    def check(path: Path) -> None:
        seen.append((path.read_bytes(), (tmp_path / "seg.dcm").exists()))

    with whole_file(tmp_path / "seg.dcm", check) as temporary:
        temporary.write_bytes(b"new")

    assert seen == [(b"new", False)]


def test_what_fails_its_check_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "seg.dcm").write_bytes(b"old")

    def refuse(path: Path) -> None:
        raise RuntimeError("not what was meant")

    with (
        pytest.raises(RuntimeError, match="meant"),
        whole_file(tmp_path / "seg.dcm", refuse) as temporary,
    ):
        temporary.write_bytes(b"new")

    assert (tmp_path / "seg.dcm").read_bytes() == b"old"
    assert names(tmp_path) == ["seg.dcm"]


def test_a_writer_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with whole_file(tmp_path / "seg.dcm", accept) as temporary:
            temporary.write_bytes(b"ha")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half"):
        write()

    assert names(tmp_path) == []


def test_a_writer_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "seg.dcm", accept):
        pass
