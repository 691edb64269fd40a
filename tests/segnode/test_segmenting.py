"""Segnode in Python: masks as arrays, the same as the command writes, and nothing left behind."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, TypedDict

import nibabel
import numpy as np
import pytest

import segnode
from agent.limits import Limits
from models.loaded_models import open_workbench
from server.local import LocalModels, LocalRun, asked_targets, segment_files
from server.rules.catalogue import load_catalogue
from tests.support import phantoms


class Names(TypedDict, total=False):
    """Models by name, as `segment` takes them."""

    policy: str
    segmenter: str


FAKES: Names = {"policy": "threshold", "segmenter": "fake"}


def blob() -> np.ndarray[Any, np.dtype[np.float32]]:
    """A body of 40 HU in air with a blob of 100 HU in it, (z, y, x)."""
    z, y, x = np.mgrid[:10, :80, :100]
    intensities = np.full(z.shape, -1000, np.float32)
    intensities[((y - 40) / 36) ** 2 + ((x - 50) / 46) ** 2 < 1] = 40
    intensities[((z - 5) / 4) ** 2 + ((y - 40) / 14) ** 2 + ((x - 30) / 12) ** 2 < 1] = 100
    return intensities


@pytest.fixture(scope="module")
def volume() -> segnode.Volume:
    """Voxels of 3 x 1 x 1 mm; slices rise, rows run back, columns run left, as in a plain CT."""
    affine = np.array([[0, 0, 1, -50], [0, 1, 0, -40], [3, 0, 0, 7], [0, 0, 0, 1]], np.float64)
    return segnode.Volume(blob(), segnode.Geometry((10, 80, 100), affine), "CT")


def test_a_volume_in_memory_gives_masks_on_its_own_grid(volume: segnode.Volume) -> None:
    turns: list[tuple[str, segnode.Turn]] = []

    result = segnode.segment(
        volume,
        ["bright", "unicorn"],
        **FAKES,
        on_turn=lambda text, turn: turns.append((text, turn)),
    )

    bright = result["bright"]
    assert (bright.status, bright.code) == (segnode.TargetStatus.SEGMENTED, None)
    assert bright.mask is not None
    truth = volume.intensities == 100
    dice = 2 * (bright.mask & truth).sum() / (bright.mask.sum() + truth.sum())
    assert dice > 0.9
    assert bright.volume_ml == pytest.approx(bright.mask.sum() * 3 / 1000)
    assert result.geometry.matches(volume.geometry)
    assert (
        tuple(turn for text, turn in turns if text == "bright")
        == bright.turns
        == (result.trace.targets[0].turns)
    )
    unicorn = result["unicorn"]
    assert (unicorn.status, unicorn.mask, unicorn.code) == (segnode.TargetStatus.FAILED, None, None)
    assert unicorn.reason


def test_a_path_gives_what_the_command_writes(tmp_path: Path) -> None:
    # Arrange
    phantoms.torso_ct(tmp_path / "ct", shape=(24, 96, 96))
    workbench, catalogue = open_workbench("threshold", "fake"), load_catalogue()
    models = LocalModels(lambda: workbench, catalogue, Limits(draw_step_mm=4.0))
    nibabel.save(nibabel.Nifti1Image(blob().T, np.eye(4)), tmp_path / "ct.nii.gz")

    for name, text in (("ct", "liver"), ("ct.nii.gz", "bright")):
        # Act
        result = segnode.segment(tmp_path / name, [text], **FAKES)
        run = LocalRun(tmp_path / name, asked_targets([text], catalogue), tmp_path / "out")
        (summary,) = segment_files(run, models, lambda _, __: None)

        # Assert
        assert result[text].volume_ml == summary.volume_ml
        written = segnode.load_trace(tmp_path / "out" / "trace.json").targets[0]
        assert result[text].status is segnode.TargetStatus.SEGMENTED
        assert [turn.action for turn in result[text].turns] == [t.action for t in written.turns]


def test_a_label_map_counts_targets_from_one(volume: segnode.Volume) -> None:
    result = segnode.segment(volume, ["unicorn", "bright"], **FAKES)

    labels = result.label_map()

    assert labels.dtype == np.uint8
    mask = result["bright"].mask
    assert mask is not None
    assert np.array_equal(labels == 2, mask)
    assert set(np.unique(labels)) == {0, 2}


def test_nothing_is_left_on_disk(
    volume: segnode.Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    result = segnode.segment(volume, ["bright"], **FAKES)

    assert list(tmp_path.iterdir()) == []
    assert result["bright"].mask is not None
    assert result["bright"].mask.any()


def test_what_was_not_asked_for_is_named(volume: segnode.Volume) -> None:
    result = segnode.segment(volume, ["liver"], **FAKES)

    with pytest.raises(KeyError, match=r"'spleen' was not asked for; there are \['liver'\]"):
        result["spleen"]


@pytest.mark.parametrize(
    ("path", "targets", "names", "sentence"),
    [
        ("gone", ["liver"], FAKES, "there is nothing at gone"),
        (".", [], FAKES, "nothing to look for"),
        (".", ["liver"], {"segmenter": "medsam9"}, "medsam9"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    path: str,
    targets: list[str],
    names: Names,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picture.png").write_bytes(b"")

    with pytest.raises(segnode.SegnodeErrors, match=sentence):
        segnode.segment(path if path == "gone" else volume_of_zeros(), targets, **names)


def volume_of_zeros() -> segnode.Volume:
    """One empty slice of 1 mm pixels."""
    geometry = segnode.Geometry((1, 64, 64), np.eye(4)[[2, 1, 0, 3]])
    return segnode.Volume(np.zeros((1, 64, 64), np.float32), geometry, "CT")


def test_a_structure_of_the_catalogue_has_its_code(tmp_path: Path) -> None:
    phantoms.torso_ct(tmp_path / "ct", shape=(24, 96, 96))

    liver = segnode.segment(str(tmp_path / "ct"), ["LIVER"], **FAKES)["liver"]

    assert (liver.text, liver.structure) == ("LIVER", "liver")
    assert liver.code == segnode.Code("10200004", "SCT", "Liver")
    assert liver.mask is not None
    assert liver.mask.shape == (24, 96, 96)


@pytest.mark.parametrize(
    ("volume", "targets", "sentence"),
    [
        (np.zeros((1, 8, 8)), ["liver"], "not ndarray"),
        ("ct", "liver", "targets is a list of texts"),
        ("nan", ["liver"], "no finite numbers"),
    ],
)
def test_what_python_would_take_and_mean_otherwise_is_refused(
    volume: segnode.Volume, targets: Any, sentence: str
) -> None:
    if isinstance(volume, str) and volume == "nan":
        zeros = volume_of_zeros()
        volume = segnode.Volume(zeros.intensities * np.float32(np.nan), zeros.geometry, "CT")

    with pytest.raises(segnode.SegnodeErrors, match=sentence):
        segnode.segment(volume, targets, **FAKES)


def test_a_grid_of_no_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="no finite numbers"):
        segnode.Geometry((1, 8, 8), np.full((4, 4), np.nan))
