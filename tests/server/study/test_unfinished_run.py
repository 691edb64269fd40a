"""Only the same question on the same files goes on where an unfinished run was."""

from __future__ import annotations

import os
from pathlib import Path

from agent.values import Target
from server.study.unfinished_run import run_identity, take_up

LIVER = Target("liver", "liver")


def test_whatever_is_asked_for_tells_runs_apart(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"1234")
    first = run_identity(tmp_path, [LIVER], "", "m")

    assert run_identity(tmp_path, [LIVER], "", "m") == first
    others = [
        run_identity(tmp_path, [LIVER, LIVER], "", "m"),
        run_identity(tmp_path, [LIVER], "CT", "m"),
        run_identity(tmp_path, [LIVER], "", "n"),
        run_identity(tmp_path / "a.nii", [], "", "m"),
    ]
    os.utime(tmp_path / "a.nii", ns=(1, 1))
    others.append(run_identity(tmp_path, [LIVER], "", "m"))
    (tmp_path / "b.nii").touch()
    others.append(run_identity(tmp_path, [LIVER], "", "m"))
    assert len({first, *others}) == 1 + len(others)


def test_another_runs_files_are_taken_away(tmp_path: Path) -> None:
    work = tmp_path / "work"
    assert not take_up(work, "one")
    (work / "target-000.json").touch()

    assert take_up(work, "one")
    assert (work / "target-000.json").exists()
    assert not take_up(work, "two")
    assert not (work / "target-000.json").exists()


def test_a_folder_without_a_record_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "target-000.json").touch()

    assert not take_up(tmp_path, "one")
    assert not (tmp_path / "target-000.json").exists()
    (tmp_path / "run.json").write_text("[")
    assert not take_up(tmp_path, "one")
