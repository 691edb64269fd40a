"""`segnode segment` with several paths: models are loaded once, a bad path stops no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.cli import main
from server.commands.segment import out_folders
from server.errors import InputError
from tests.support.composed import ComposedProcesses

Capture = pytest.CaptureFixture[str]


def words(out: Path, *paths: Path) -> list[str]:
    return ["segment", *map(str, paths), "--target", "liver", "--out", str(out)]


def test_models_are_loaded_once(tmp_path: Path) -> None:
    processes = ComposedProcesses()

    assert main(words(tmp_path, Path("a"), Path("b"), Path("c")), processes) == 0
    assert [ran[1] for ran in processes.ran] == [Path("a"), Path("b"), Path("c")]
    assert [ran[3] for ran in processes.ran] == [tmp_path / name for name in "abc"]
    assert processes.opened == 1


def test_a_bad_path_is_named_and_the_others_go_on(capsys: Capture, tmp_path: Path) -> None:
    processes = ComposedProcesses()
    processes.unusable = {Path("b")}

    assert main(words(tmp_path, Path("a"), Path("b"), Path("c")), processes) == 1
    assert [ran[1] for ran in processes.ran] == [Path("a"), Path("c")]
    assert capsys.readouterr().err.splitlines() == [
        "segnode: b: there is nothing at b",
        "segnode: 1 of 3 could not be segmented",
    ]


def test_one_bad_path_is_told_as_before(capsys: Capture, tmp_path: Path) -> None:
    processes = ComposedProcesses()
    processes.unusable = {Path("b")}

    assert main(words(tmp_path, Path("b")), processes) == 1
    assert capsys.readouterr().err == "segnode: there is nothing at b\n"


def test_folders_are_named_like_their_paths(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.png", "c.d"):
        (tmp_path / name).touch()
    (tmp_path / "ct.1").mkdir()
    paths = [tmp_path / name for name in ("a.nii.gz", "b.png", "c.d", "ct.1")]

    names = [folder.name for folder in out_folders(paths, Path("out")).values()]

    assert names == ["a", "b", "c", "ct.1"]
    assert out_folders(paths[:1], Path("out")) == {paths[0]: Path("out")}


def test_results_never_overwrite_each_other(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder / "ct").mkdir(parents=True)

    with pytest.raises(InputError, match="two calls"):
        out_folders([tmp_path / "one" / "ct", tmp_path / "two" / "ct"], Path("out"))
