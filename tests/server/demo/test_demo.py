"""The demo's parts: scores by affine, a phantom that is a volume, and a loud word when the real CT
is not to be had.
"""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest

from dicom_node.series.header import read_header
from dicom_node.volume.volume import load_volume
from server.commands.client import NodeClient
from server.demo.__main__ import say_pages
from server.demo.node import RunningNode
from server.demo.phantom import SLICES, torso_plane_hu, write_torso
from server.demo.sample import ARCHIVE, prepare_sample
from server.demo.score import dice, reference_labels_on


def test_the_reference_is_read_by_position_whatever_its_axes(tmp_path: Path) -> None:
    # Arrange: one labelled voxel at LPS (10, -20, 35) mm, in a NIfTI whose axes run left, anterior,
    # superior
    affine_ras = np.diag([-2.0, 2.0, 5.0, 1.0])
    affine_ras[:3, 3] = (30, -10, 0)
    labels = np.zeros((30, 20, 12), np.int16)
    i, j, k = np.round(np.linalg.inv(affine_ras) @ (-10, 20, 35, 1))[:3].astype(int)
    labels[i, j, k] = 7
    nibabel.Nifti1Image(labels, affine_ras).to_filename(tmp_path / "labels.nii.gz")

    # Act: read on a DICOM-like grid, rows to the back, columns to the left, slices up
    affine = np.array([[0, 0, 2.0, -28], [0, 2.0, 0, -28], [5.0, 0, 0, 0], [0, 0, 0, 1]])
    on_grid = reference_labels_on(tmp_path / "labels.nii.gz", (12, 20, 30), affine)

    # Assert: index (z, y, x) of that position, worked out by hand:
    # 35/5 along z, (-20+28)/2 along y, (10+28)/2 along x
    assert [tuple(map(int, index)) for index in np.argwhere(on_grid == 7)] == [(7, 4, 19)]


@pytest.mark.parametrize("keep", [True, False])
def test_the_demo_ends_with_the_address_of_its_pages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], keep: bool
) -> None:
    (tmp_path / "token").write_text("the-token-of-the-node\n")
    client = NodeClient("http://127.0.0.1:8080", "the-token-of-the-node")

    say_pages(RunningNode(11112, client, tmp_path / "node.toml", tmp_path), keep=keep)

    told = capsys.readouterr().out
    assert "http://127.0.0.1:8080/" in told
    assert ("the-token-of-the-node" in told) == keep  # of a node that is gone it opens nothing
    assert ("KEEP=1" in told) == (not keep)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], 1.0),
        ([1, 1, 0, 0], [0, 1, 1, 0], 0.5),
        ([0], [0], 1.0),
        ([1], [0], 0.0),
    ],
)
def test_dice(one: list[int], other: list[int], expected: float) -> None:
    assert dice(np.array(one, bool), np.array(other, bool)) == expected


def test_the_phantom_is_a_volume_with_the_liver_on_the_right(tmp_path: Path) -> None:
    paths, study = write_torso(tmp_path, 4)

    volume = load_volume([read_header(path) for path in paths])

    assert volume.study_instance_uid == study
    assert volume.intensities.shape == (4, 512, 512)
    liver_x = int((-72 + 204.4) / 0.8)  # 72 mm to the patient's right of the middle
    assert volume.intensities[2, 240, liver_x - 5 : liver_x + 5].mean() == pytest.approx(
        110, abs=15
    )
    assert torso_plane_hu(0).shape == (512, 512)


def test_without_the_package_a_phantom_stands_in_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Arrange: an installer with nowhere to look
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)

    # Act
    with caplog.at_level(logging.WARNING):
        sample = prepare_sample(tmp_path, cache=tmp_path / "cache")

    # Assert
    assert (sample.is_real, sample.reference, len(sample.files)) == (False, None, SLICES)
    assert "NO REAL CT" in caplog.text


def test_a_damaged_archive_in_the_cache_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / ARCHIVE).write_bytes(b"half a file")

    assert not prepare_sample(tmp_path, cache=tmp_path / "cache").is_real
