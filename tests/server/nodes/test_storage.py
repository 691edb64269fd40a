"""What lies under storage.dir: one node's, and to be found again where it is moved to."""

from __future__ import annotations

import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.series.header import read_header
from dicom_node.values import ResultKind, WrittenResult
from dicom_node.volume.volume import load_volume
from server.cli import main
from server.compose import listen, serve
from server.errors import ConfigurationError
from server.nodes.storage_lock import storage_of
from server.record.deliveries import Deliveries, DeliveryAttempt
from server.record.runs import Runs
from server.settings import load_settings
from server.study.workfolder import WorkFolder
from server.values import Selection, Stage
from tests.server.conftest import Desk
from tests.support import phantoms

SEG = WrittenResult(ResultKind.SEG, Path(), "1.2.840.10008.5.1.4.1.1.66.4", "2.25.1", "2.25.2")
HOLD = """
import sys, time
from pathlib import Path
from server.nodes.storage_lock import storage_of
with storage_of(Path(sys.argv[1]), "listen"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_node_on_a_storage_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    # Arrange
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"

    # Act, Assert: other parts are not in its way
    with (
        pytest.raises(ConfigurationError, match="another `segnode listen` works on"),
        storage_of(tmp_path, "listen", 0.0),
    ):
        pass
    with storage_of(tmp_path, "serve", 0.0):
        pass
    first.kill()
    first.wait()
    first.stdout.close()
    with storage_of(tmp_path, "listen"):
        pass


def test_two_listeners_and_two_nodes_refuse_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.nodes.storage_lock.LEAVING_S", 0.0)
    settings = load_settings(
        (), {"SEGNODE_STORAGE__DIR": str(tmp_path), "SEGNODE_DATABASE__URL": "postgresql://h/d"}
    )
    for part, run in (
        ("listen", lambda: listen.run(settings)),
        ("serve", lambda: serve.run(settings, [])),
    ):
        with storage_of(tmp_path, part), pytest.raises(ConfigurationError, match="of its own"):
            run()


def test_results_are_found_after_storage_was_moved(desk: Desk, tmp_path: Path) -> None:
    # Arrange: written under one storage
    before, after = tmp_path / "before", tmp_path / "after"
    written = before / "work" / "r" / "seg.dcm"
    request_id = desk.request()
    runs = Runs(desk.sessions, desk.jobs, before)
    runs.enter(request_id, 1, Stage.SELECT)
    runs.selected(request_id, 1, Selection("1.2", (1, 2, 3), ()), 0.1)
    runs.enter(request_id, 1, Stage.FINISH, 0)
    runs.enter(request_id, 1, Stage.WRITE)
    runs.written(request_id, 1, [replace(SEG, path=written)], 0.1)
    runs.send(request_id, 1)

    # Act
    [result] = Deliveries(desk.sessions, desk.jobs, after).begin(
        DeliveryAttempt(request_id, "pacs", 1, 1)
    )

    # Assert
    assert desk.record.request(request_id).results[0].path == "work/r/seg.dcm"
    assert result.path == after / "work" / "r" / "seg.dcm"


def test_a_volume_in_hand_is_found_after_storage_was_moved(tmp_path: Path) -> None:
    # Arrange
    before, after = tmp_path / "before", tmp_path / "after"
    paths = phantoms.torso_ct(before / "inbox" / "study", shape=(4, 16, 16)).paths
    folder = WorkFolder(before / "work" / "r")
    folder.path.parent.mkdir()
    folder.save_volume(load_volume([read_header(path) for path in paths]))

    # Act
    before.rename(after)
    volume = WorkFolder(after / "work" / "r").load_volume()

    # Assert
    assert {frame.path.parent for frame in volume.frames} == {after / "inbox" / "study"}
    assert all(frame.path.is_file() for frame in volume.frames)


def test_check_starts_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Arrange: nothing is there yet, in a folder that is private
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    monkeypatch.setenv("SEGNODE_STORAGE__DIR", str(private / "var"))
    monkeypatch.setenv("SEGNODE_STORAGE__MINIMUM_FREE_BYTES", "0")
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    modes = {folder: folder.stat().st_mode for folder in private.parents}

    # Act
    code = main(["check"])

    # Assert
    assert code == 0
    assert "embedded PostgreSQL, not running now" in capsys.readouterr().out
    assert list(private.iterdir()) == []
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert {folder: folder.stat().st_mode for folder in private.parents} == modes
