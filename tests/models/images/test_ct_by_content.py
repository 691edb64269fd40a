"""CT is told by its grey levels, and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from PIL import Image

from models.images.ct_by_content import looks_like_ct
from models.images.readers import read_volume

SIDE = 256


def body(levels: dict[str, float], *, air: float = 0.0, noise: float = 1.0) -> NDArray[np.uint8]:
    """A round body of fat, muscle and bone in air, with a couch, as 8 bits."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    distance = np.hypot(rows, columns)
    image = np.full((SIDE, SIDE), air)
    for radius, tissue in ((90, "fat"), (75, "muscle"), (40, "organ"), (8, "bone")):
        image[distance < radius] = levels[tissue]
    image[240:244] = levels["muscle"] / 4  # the couch
    noisy = image + np.random.default_rng(0).normal(0, noise, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


# -1000..900 HU over 0..255: fat -100, muscle 50, organ 110, bone 900
CT = {"fat": 121.0, "muscle": 141.0, "organ": 149.0, "bone": 255.0}


def test_an_unwindowed_ct_is_told() -> None:
    assert looks_like_ct(body(CT))


def test_it_is_told_in_any_unit() -> None:
    assert looks_like_ct(body(CT).astype(np.float32) * 7.5 - 1024)


@pytest.mark.parametrize(
    "image",
    [
        np.full((64, 64), 200, np.uint8),
        body({"fat": 230.0, "muscle": 80.0, "organ": 130.0, "bone": 40.0}, noise=4.0),
        body({"fat": 100.0, "muscle": 160.0, "organ": 200.0, "bone": 255.0}),
        body(CT)[100:156, 100:156],
        body(CT, air=90.0, noise=25.0),
        body({"fat": 60.0, "muscle": 64.0, "organ": 66.0, "bone": 255.0}),
        np.zeros((64, 64), np.uint8),
    ],
    ids=["one grey", "MR", "windowed CT", "no air", "uneven air", "one bright thing", "black"],
)
def test_what_cannot_be_told_stays_untold(image: NDArray[np.uint8]) -> None:
    assert not looks_like_ct(image)


def test_a_picture_is_read_as_what_it_looks_like(tmp_path: Path) -> None:
    Image.fromarray(body(CT)).save(tmp_path / "ct.png")
    Image.fromarray(255 - body(CT)).save(tmp_path / "other.png")

    assert read_volume(tmp_path / "ct.png").modality == "CT"
    assert read_volume(tmp_path / "other.png").modality == "OT"
    assert read_volume(tmp_path / "ct.png", modality="MR").modality == "MR"


def test_of_real_slices_hardly_one_is_missed_and_no_mr_is_taken(shared_data: Path) -> None:
    # Arrange
    ct = [np.asarray(Image.open(path)) for path in sorted((shared_data / "btcv/image").iterdir())]
    scribbles = sorted((shared_data / "slices_medscribble").glob("*.npz"))
    others = [np.load(path)["img"] for path in scribbles]
    brain = shared_data / "mr_nrrd_brain_tumour_pyradiomics" / "brain1_image.nrrd"
    others += list(read_volume(brain).intensities)

    # Act, assert
    assert np.mean([looks_like_ct(image) for image in ct]) > 0.97
    assert not any(looks_like_ct(image) for image in others)


@pytest.mark.parametrize("name", ["shifted.nii.gz", "scaled.nrrd"])
def test_a_volume_in_another_unit_is_ct_by_most_of_its_slices(tmp_path: Path, name: str) -> None:
    # Arrange: 0..2047 or 0..255, and one slice in three of nothing
    stack = np.stack([body(CT) * (1 if z % 3 else 0) for z in range(9)]).astype(np.int16)
    if name.endswith("nrrd"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(stack), str(tmp_path / name))
    else:
        nibabel.save(nibabel.Nifti1Image(stack.T * 8, np.eye(4)), tmp_path / name)

    # Act
    volume = read_volume(tmp_path / name)

    # Assert
    assert volume.modality == "CT"
    assert read_volume(tmp_path / name, modality="MR").modality == "MR"


def test_a_volume_of_mr_is_not_taken_for_ct(tmp_path: Path) -> None:
    bright_fat = body({"fat": 230.0, "muscle": 80.0, "organ": 130.0, "bone": 40.0}, noise=4.0)
    stack = np.stack([body(CT), *[bright_fat] * 6, body(CT)]).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(stack.T, np.eye(4)), tmp_path / "mr.nii.gz")

    assert read_volume(tmp_path / "mr.nii.gz").modality == "MR"
