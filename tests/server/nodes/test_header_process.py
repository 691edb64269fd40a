"""The reader of headers may die of a file; whoever asked it lives on, and hears why."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.errors import FaultyDataset, UnreadableDataset
from dicom_node.series.header import read_header
from server.nodes.header_process import HeaderProcess
from tests.support import phantoms

# Dies of "deadly", dies once of "unlucky", says what is no JSON of "odd" and another file's header
# of "mixed"
FAKE_CHILD = """
import json, pathlib, sys
print("ready", flush=True)
for line in sys.stdin:
    path = pathlib.Path(json.loads(line))
    if path.name == "deadly":
        sys.exit(1)
    if path.name == "killed":
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
    if path.name == "unlucky" and not path.exists():
        path.touch()
        sys.exit(1)
    answer = {"unreadable": "as answered", "path": "x" if path.name == "mixed" else str(path)}
    print("?" if path.name == "odd" else json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="module")
def reader() -> Iterator[HeaderProcess]:
    with HeaderProcess() as process:
        yield process


@pytest.fixture
def fake() -> Iterator[HeaderProcess]:
    with HeaderProcess(command=(sys.executable, "-c", FAKE_CHILD)) as process:
        yield process


def test_a_header_is_that_which_is_read_here(reader: HeaderProcess, tmp_path: Path) -> None:
    for path in phantoms.torso_ct(tmp_path, shape=(2, 10, 12)).paths:
        assert reader.read_header(path) == read_header(path)


def test_what_is_no_dicom_and_what_is_not_there_are_told_apart(
    reader: HeaderProcess, tmp_path: Path
) -> None:
    (tmp_path / "text.dcm").write_text("no DICOM")

    with pytest.raises(UnreadableDataset, match=r"text\.dcm is no DICOM file"):
        reader.read_header(tmp_path / "text.dcm")
    with pytest.raises(FileNotFoundError):
        reader.read_header(tmp_path / "nothing.dcm")


def test_a_file_that_takes_too_long_is_given_up_and_the_next_one_is_read(tmp_path: Path) -> None:
    path = phantoms.torso_ct(tmp_path / "ct", shape=(2, 10, 12)).paths[0]
    endless = tmp_path / "endless.dcm"
    os.mkfifo(endless)

    with HeaderProcess(longest_read_s=0.5) as process:
        with pytest.raises(UnreadableDataset, match="reading it takes longer than"):
            process.read_header(endless)
        process._child.longest_answer_s = 30.0  # so that a busy machine reads the sound one
        assert process.read_header(path) == read_header(path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("deadly", "reading it ended its process"),
        ("killed", "reading it takes too much memory"),
        ("odd", "reading it ended its process"),
        ("mixed", "reading it ended its process"),
    ],
)
def test_a_file_that_kills_its_reader_is_unreadable_and_the_next_one_is_read(
    fake: HeaderProcess, tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(UnreadableDataset, match=reason):
        fake.read_header(tmp_path / name)
    with pytest.raises(UnreadableDataset, match="as answered"):
        fake.read_header(tmp_path / "sound")


def test_a_reader_that_died_once_is_not_held_against_the_file(
    fake: HeaderProcess, tmp_path: Path
) -> None:
    with pytest.raises(UnreadableDataset, match="as answered"):
        fake.read_header(tmp_path / "unlucky")


def test_a_reader_that_does_not_start_is_no_fault_of_the_file(tmp_path: Path) -> None:
    with (
        HeaderProcess(command=(sys.executable, "-c", "raise SystemExit(1)")) as process,
        pytest.raises(OSError, match="does not start"),
    ):
        process.read_header(tmp_path / "any")


def test_memory_is_bounded(tmp_path: Path) -> None:
    # a sequence of 40 MB, which is held twice while it is read
    path = phantoms.torso_ct(tmp_path, shape=(2, 10, 12)).paths[0]
    with path.open("ab") as file:
        file.write(b"\x00\x52\x30\x92SQ\0\0" + (40 << 20).to_bytes(4, "little") + bytes(40 << 20))

    with (
        HeaderProcess(most_memory_bytes=1 << 20) as process,
        pytest.raises(UnreadableDataset, match="reading it takes too much memory"),
    ):
        process.read_header(path)


def test_the_child_gets_no_setting_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEGNODE_DATABASE__URL", "postgresql://u:secret@h/d")
    child = """
import json, os
print("ready", flush=True)
path = json.loads(input())
print(json.dumps({"unreadable": " ".join(os.environ), "path": path}), flush=True)
"""

    with (
        HeaderProcess(command=(sys.executable, "-c", child)) as process,
        pytest.raises(UnreadableDataset) as told,
    ):
        process.read_header(tmp_path / "any")

    assert "PATH" in str(told.value)
    assert "SEGNODE" not in str(told.value)


def test_a_faulty_file_says_what_is_wrong_with_it(reader: HeaderProcess, tmp_path: Path) -> None:
    path = phantoms.torso_ct(tmp_path, shape=(2, 10, 12)).paths[0]
    with path.open("ab") as file:
        file.write(b"\x20\x00\x0e\x00UI\x04\x001.2\0")

    with pytest.raises(UnreadableDataset, match="two values of Series Instance UID"):
        reader.read_header(path)
    with pytest.raises(FaultyDataset):
        read_header(path)
