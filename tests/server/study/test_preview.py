"""The preview shows the right side on the right side, in the structure's own colour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agent.geometry import Geometry
from agent.values import Volume
from dicom_node.values import Code, ResultSegment
from dicom_node.voxels import Voxels
from server.study.preview import TILE_PX, draw_preview, rgb_of_cielab

CODE = Code("T1", "99TEST", "Test")

RED = (53.2408, 80.0925, 67.2032)  # sRGB red in CIELab under D65, from published tables


@pytest.mark.parametrize(
    ("cielab", "rgb"),
    [
        (RED, (255, 0, 0)),
        ((100.0, 0.0, 0.0), (255, 255, 255)),
        ((0.0, 0.0, 0.0), (0, 0, 0)),
        ((32.2970, 79.1875, -107.8602), (0, 0, 255)),
    ],
)
def test_colours(cielab: tuple[float, float, float], rgb: tuple[int, int, int]) -> None:
    assert np.abs(np.subtract(rgb_of_cielab(cielab), rgb)).max() <= 1


def reddest_column(path: Path) -> float:
    with Image.open(path) as picture:
        pixels = np.array(picture.convert("RGB")).astype(int)[:TILE_PX, :TILE_PX]
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60)
    assert red.any()
    return float(np.nonzero(red)[1].mean())


@pytest.mark.parametrize(
    "axes", ["stored axially", "stored from left to right", "stored sagittally"]
)
def test_the_patients_right_is_on_the_left_of_the_picture(tmp_path: Path, axes: str) -> None:
    # Arrange: one blob on the patient's right (x < 0 in LPS), on three ways of storing the same
    # patient
    shape = {"stored sagittally": (40, 8, 40)}.get(axes, (8, 40, 40))
    columns = {
        "stored axially": [(0, 0, 5.0), (0, 2.0, 0), (2.0, 0, 0)],
        "stored from left to right": [(0, 0, 5.0), (0, 2.0, 0), (-2.0, 0, 0)],
        "stored sagittally": [(2.0, 0, 0), (0, 0, -5.0), (0, 2.0, 0)],
    }[axes]
    affine = np.eye(4)
    affine[:3, :3] = np.array(columns).T
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    grid = Geometry(shape, affine)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3)
    lps = grid.to_patient_mm(index.astype(float))
    blob = (np.abs(lps[:, 0] + 20) < 10) & (np.abs(lps[:, 1]) < 15)
    volume = Volume(np.zeros(shape, np.float32), grid, "CT")

    # Act
    path = tmp_path / "preview.png"
    draw_preview(
        path,
        volume,
        [ResultSegment("Blob", CODE, CODE, None, RED, "blob", Voxels.of(blob.reshape(shape)))],
        title="CT",
    )

    # Assert
    assert reddest_column(path) < TILE_PX / 2 - 50


def test_doubts_and_what_was_not_drawn_lengthen_the_legend(tmp_path: Path) -> None:
    # Arrange
    volume = Volume(np.zeros((1, 30, 50), np.float32), Geometry((1, 30, 50), np.eye(4)), "CT")
    mask = np.zeros((1, 30, 50), np.bool_)
    mask[0, 5:9, 5:9] = True
    blob = ResultSegment("Blob", CODE, CODE, None, RED, "blob", Voxels.of(mask))

    def legend(*doubts: str, undrawn: tuple[tuple[str, str], ...] = ()) -> int:
        """Bright pixels right of the slices."""
        doubted, path = replace(blob, doubts=doubts), tmp_path / "p.png"
        draw_preview(path, volume, [doubted], title="CT", undrawn=undrawn)
        with Image.open(path) as picture:
            return int(np.count_nonzero(np.array(picture)[:, TILE_PX:, 1] > 100))

    # Act, Assert
    assert legend() < legend("cut off by an edge") < legend("cut off by an edge", "confidence low")
    assert legend() < legend(undrawn=(("spleen", "uncertain"),))


def test_a_single_slice_and_nothing_found_still_make_a_picture(tmp_path: Path) -> None:
    volume = Volume(np.zeros((1, 30, 50), np.float32), Geometry((1, 30, 50), np.eye(4)), "MR")

    draw_preview(tmp_path / "p.png", volume, [], title="nothing")

    with Image.open(tmp_path / "p.png") as picture:
        assert picture.size[1] >= TILE_PX
