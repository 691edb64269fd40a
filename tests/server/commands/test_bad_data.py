"""Data that cannot be used, as a person meets it: a sentence that names the file and what is wrong,
from trajectories and evaluation alike.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from server.cli import main
from tests.support.dataset_folders import index_png_folder

pytest.importorskip("matplotlib")

Capture = pytest.CaptureFixture[str]
COMMANDS = {
    "trajectories": ("--segmenter", "fake", "--split", "all"),
    "evaluate": ("--policy", "threshold", "--segmenter", "fake", "--baselines", "none"),
}


@pytest.fixture(autouse=True)
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGNODE_STORAGE__DIR", str(tmp_path / "var"))
    monkeypatch.setenv("PYTHONSAFEPATH", "")


def run(command: str, data: Path, out: Path, *more: str) -> int:
    return main([command, str(data), "--out", str(out), *COMMANDS[command], *more])


@pytest.mark.parametrize("command", COMMANDS)
def test_a_patient_in_both_splits_is_refused_by_name(
    command: str, tmp_path: Path, capsys: Capture
) -> None:
    names = {"training": ["P_1_0.png", "P_2_0.png"], "validation": ["P_2_1.png", "P_3_0.png"]}
    data = index_png_folder(tmp_path / "data", **names)

    assert run(command, data, tmp_path / "out") == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert "2 (training and validation)" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_an_image_of_another_shape_than_its_mask_is_left_out_by_name(
    command: str, tmp_path: Path, capsys: Capture
) -> None:
    data = index_png_folder(tmp_path / "data")
    label = data / "label" / "P_1_0.png"
    Image.open(label).resize((7, 5)).save(label)

    assert run(command, data, tmp_path / "out") == 0

    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith("left out: "))
    assert "P_1_0.png" in line
    assert "(5, 7)" in line or "(1, 5, 7)" in line


@pytest.mark.parametrize("command", COMMANDS)
def test_a_truth_that_fills_its_image_is_left_out_by_name(
    command: str, tmp_path: Path, capsys: Capture
) -> None:
    data = index_png_folder(tmp_path / "data")
    label = data / "label" / "P_1_0.png"
    Image.fromarray(np.ones_like(np.array(Image.open(label)))).save(label)

    assert run(command, data, tmp_path / "out") == 0

    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith("left out: "))
    assert "P_1_0.png" in line
    assert "fills" in line


def test_an_empty_truth_is_a_structure_that_is_absent(tmp_path: Path, capsys: Capture) -> None:
    data = index_png_folder(tmp_path / "data")  # the second slice of patient 1 shows nothing
    out = tmp_path / "out"

    assert run("evaluate", data, out, "--split", "training") == 0

    figures = json.loads((out / "results.json").read_text())["methods"]["threshold"]["all"]
    assert figures["absent_answered"]["targets"] == 2
    assert figures["dice"]["targets"] == figures["targets"] - 2


def test_a_structure_that_only_the_test_split_has_is_told(tmp_path: Path, capsys: Capture) -> None:
    names = [f"P_{patient}_{n}.png" for patient in (1, 2, 3) for n in (0, 1)]
    data = index_png_folder(tmp_path / "data", training=names[:4], validation=[], test=names[4:])
    for name in names[:4]:
        label = Image.open(data / "label" / name)
        label.point(lambda value: 1 if value == 1 else 0).save(data / "label" / name)

    main(["data", "check", str(data)])

    assert "spleen" in next(
        line for line in capsys.readouterr().out.splitlines() if "only in" in line
    )
