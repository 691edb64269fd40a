"""`segnode data`: what it says and how it exits."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from models.training.datasets.registry import known_datasets
from server.cli import main
from server.commands.data import add_arguments
from server.compose.training import data
from tests.support.dataset_folders import index_png_folder, nnunet_folder, npz_folder


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> Any:
    code = main(["data", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_registry_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list")

    assert code == 0
    assert "totalsegmentator" in out
    assert "CC BY-NC-SA 4.0" in out


def test_a_data_set_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "check", str(index_png_folder(tmp_path)))

    assert code == 0
    assert "6 cases of 3 patients, layout index-png" in out
    assert [line.split() for line in out.splitlines() if line.startswith("right_kidney")] == [
        ["right_kidney", "3", "2"],
        ["right_kidney", "1", "0"],
    ]
    assert "skipped" not in out
    assert not (tmp_path / "manifest.json").exists()


def test_what_is_skipped_is_named_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = npz_folder(tmp_path, files=3)
    (folder / "CT_Lesion_000001_01_01_001-004.npz").write_bytes(b"torn")

    code, out, _ = run(capsys, "check", str(folder))

    assert code == 0
    assert "skipped: CT_Lesion_000001_01_01_001-004.npz: it is damaged" in out
    assert "1 cases skipped, 1 files or parts named" in out


def test_nothing_usable_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = index_png_folder(tmp_path)
    for image in (folder / "image").iterdir():
        image.write_bytes(b"")

    assert run(capsys, "check", str(folder))[0] == 1
    code, _, err = run(capsys, "check", str(folder), "--write-manifest")
    assert code == 1
    assert "no manifest was written" in err


def test_a_leak_is_a_failure_until_it_is_split_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = index_png_folder(
        tmp_path, training=["P_1_0.png", "P_2_0.png"], validation=["P_1_1.png", "P_3_0.png"]
    )

    code, _, err = run(capsys, "check", str(folder))
    assert code == 1
    assert "1 of its patients are in more than one split: 1 (training and validation)" in err

    code, out, _ = run(capsys, "check", str(folder), "--split-anew", "4", "--write-manifest")
    assert code == 0
    assert "split here by patient, with seed 4" in out
    splits = json.loads((folder / "manifest.json").read_text())["splits"]
    assert sorted(splits.values()) == ["test", "training", "validation"]
    assert run(capsys, "check", str(folder))[0] == 0


def test_a_manifest_is_written_again_over_a_changed_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = nnunet_folder(tmp_path)
    assert run(capsys, "check", str(folder), "--write-manifest")[0] == 0
    index = folder / "dataset.json"
    index.write_text(index.read_text() + " ")

    code, _, err = run(capsys, "check", str(folder))
    assert code == 1
    assert "it was changed" in err
    assert run(capsys, "check", str(folder), "--write-manifest")[0] == 0
    assert run(capsys, "check", str(folder))[0] == 0


def test_a_structure_only_in_the_test_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"P_{patient}_{n}.png" for patient in (1, 2, 3) for n in (0, 1)]
    folder = index_png_folder(tmp_path, training=[names[1]], validation=[], test=names[2:])

    _, out, _ = run(capsys, "check", str(folder))

    assert "only in the test split, so nobody can learn them: right_kidney, spleen" in out


@pytest.mark.parametrize("words", [["check", "/nowhere"], ["check", "."]])
def test_what_is_no_data_set_is_said_in_a_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: Any
) -> None:
    monkeypatch.chdir(tmp_path)

    code, _, err = run(capsys, *words)

    assert code == 1
    assert err.count("\n") == 1
    assert "cannot be used as a data set" in err


def test_the_command_says_what_the_composition_counts(tmp_path: Path) -> None:
    calls = []

    inventory, written = data.check(
        index_png_folder(tmp_path),
        layout=None,
        seed=None,
        write=True,
        on_case=lambda *counts: calls.append(counts),
    )

    assert (inventory.cases, written) == (6, tmp_path / "manifest.json")
    assert calls[-1] == (6, 6)
    assert data.known_datasets() == known_datasets()


def test_an_action_has_to_be_named() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)

    with pytest.raises(SystemExit):
        parser.parse_args([])
