"""Readers and writers: every kind of file comes in where it lies in the patient, and masks go back
out alike.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from PIL import Image

from agent.geometry import Geometry
from agent.values import Mask, Volume
from models.errors import UnreadableFile
from models.images.preprocessing import WorkingGrid, axis_codes
from models.images.readers import can_read, is_picture, read_volume
from models.images.writers import (
    LabelledStructure,
    earlier_pictures,
    file_stem,
    write_label_map,
    write_pictures,
)

RAS = np.array([[0.8, 0, 0, -40.0], [0, 0.9, 0, -30.0], [0, 0, 2.5, 100.0], [0, 0, 0, 1]])


def named(text: str) -> LabelledStructure:
    """A structure without colour and details."""
    return LabelledStructure(text, (0, 0, 0))


@pytest.fixture
def stored() -> NDArray[np.int16]:
    """Voxels (i, j, k) int16 with CT's range."""
    voxels = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
    voxels[0, 0, 0] = -1000
    return voxels


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nifti_comes_in_where_it_lies(
    tmp_path: Path, stored: NDArray[np.int16], ending: str
) -> None:
    # Arrange
    path = tmp_path / f"ct{ending}"
    nibabel.Nifti1Image(stored, RAS).to_filename(path)

    # Act
    volume = read_volume(path)

    # Assert
    assert volume.intensities.shape == (7, 6, 5)
    assert volume.intensities.dtype == np.float32
    assert volume.modality == "CT"
    assert volume.geometry.spacing_mm == pytest.approx((2.5, 0.9, 0.8))
    # voxel i=1, j=2, k=3: RAS (-39.2, -28.2, 107.5), so LPS (39.2, 28.2, 107.5)
    assert volume.intensities[3, 2, 1] == stored[1, 2, 3]
    place = volume.geometry.to_patient_mm(np.array([[3.0, 2.0, 1.0]]))
    np.testing.assert_allclose(place, [[39.2, 28.2, 107.5]])


def test_nrrd_and_nifti_of_one_volume_agree(tmp_path: Path, stored: NDArray[np.int16]) -> None:
    # Arrange
    nibabel.Nifti1Image(stored, RAS).to_filename(tmp_path / "ct.nii.gz")
    image = SimpleITK.ReadImage(str(tmp_path / "ct.nii.gz"))  # ITK's own way from RAS to LPS
    for ending in ("nrrd", "mha"):
        SimpleITK.WriteImage(image, str(tmp_path / f"ct.{ending}"))
    expected = read_volume(tmp_path / "ct.nii.gz")

    # Act, Assert
    for ending in ("nrrd", "mha"):
        volume = read_volume(tmp_path / f"ct.{ending}")
        np.testing.assert_array_equal(volume.intensities, expected.intensities)
        assert volume.geometry.matches(expected.geometry)


def test_the_real_nrrd_is_a_volume(shared_data: Path) -> None:
    volume = read_volume(shared_data / "mr_nrrd_brain_tumour_pyradiomics" / "brain1_image.nrrd")

    assert volume.intensities.shape == (25, 256, 256)
    assert volume.geometry.spacing_mm == pytest.approx((6.5, 0.781, 0.781), abs=1e-3)
    assert volume.modality == "MR"


@pytest.mark.parametrize(
    ("mode", "pixels", "value", "modality"),
    [
        ("L", [[0, 200]], 200, "OT"),
        ("RGB", [[[0, 0, 0], [90, 90, 90]]], 90, "OT"),  # grey, stored as colour
        ("RGB", [[[0, 0, 0], [255, 0, 0]]], 76.245, "XC"),  # red's luminance
        ("RGBA", [[[0, 0, 0, 255], [90, 90, 90, 255]]], 90, "OT"),
        ("I;16", [[0, 40000]], 40000, "OT"),
    ],
)
def test_a_picture_is_one_slice(
    tmp_path: Path,
    mode: str,
    pixels: list[list[int]] | list[list[list[int]]],
    value: float,
    modality: str,
) -> None:
    # Arrange
    kind = np.uint16 if mode == "I;16" else np.uint8
    Image.fromarray(np.array(pixels, dtype=kind)).save(tmp_path / "a.png")

    # Act
    volume = read_volume(tmp_path / "a.png")

    # Assert
    assert volume.intensities.shape == (1, 1, 2)
    assert volume.intensities[0, 0, 1] == pytest.approx(value)
    assert volume.modality == modality
    assert axis_codes(volume.geometry) == "SPL"
    assert WorkingGrid.of(volume.geometry).is_identity


def drawn(kind: Any) -> Any:
    """A picture 6 x 4 of a kind that PIL writes: grey on a ramp, or red on the left and blue on the
    right.
    """
    ramp = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    colour = np.zeros((4, 6, 3), dtype=np.uint8)
    colour[:, :3, 0], colour[:, 3:, 2] = 200, 100
    return {
        "1.png": Image.fromarray(ramp > 100),
        "L.png": Image.fromarray(ramp),
        "LA.png": Image.fromarray(ramp).convert("LA"),
        "P-grey.png": Image.fromarray(ramp).convert("P"),
        "L.jpg": Image.fromarray(ramp),
        "16.png": Image.fromarray(ramp.astype(np.uint16) * 200),
        "16.tif": Image.fromarray(ramp.astype(np.uint16) * 200),
        "I.tif": Image.fromarray(ramp.astype(np.int32) * 70000),
        "F.tif": Image.fromarray(ramp.astype(np.float32) / 7),
        "L.bmp": Image.fromarray(ramp),
        "RGB.png": Image.fromarray(colour),
        "RGBA.png": Image.fromarray(colour).convert("RGBA"),
        "P.png": Image.fromarray(colour).quantize(8),
        "P.bmp": Image.fromarray(colour).quantize(8),
        "CMYK.tif": Image.fromarray(colour).convert("CMYK"),
        "RGB.jpeg": Image.fromarray(colour),
        "CMYK.jpg": Image.fromarray(colour).convert("CMYK"),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "lowest", "highest"),
    [
        ("1.png", 0, 255),
        ("L.png", 0, 230),
        ("LA.png", 0, 230),
        ("P-grey.png", 0, 230),
        ("16.png", 0, 46000),
        ("16.tif", 0, 46000),
        ("I.tif", 0, 16_100_000),
        ("F.tif", 0, 32.857),
        ("L.bmp", 0, 230),
    ],
)
def test_every_kind_of_grey_picture_keeps_its_values(
    tmp_path: Path, kind: str, lowest: int, highest: float
) -> None:
    drawn(kind).save(tmp_path / kind)

    volume = read_volume(tmp_path / kind)

    assert volume.colour is None
    assert volume.modality == "OT"
    assert volume.intensities.shape == (1, 4, 6)
    assert volume.intensities.dtype == np.float32
    assert volume.intensities.min() == lowest
    assert volume.intensities.max() == pytest.approx(highest, rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "within"),
    [
        ("RGB.png", 0),
        ("RGBA.png", 0),
        ("P.png", 4),
        ("P.bmp", 4),
        ("CMYK.tif", 0),
        ("RGB.jpeg", 60),  # compressed, half the columns for colour
        ("CMYK.jpg", 60),
    ],
)
def test_every_kind_of_colour_picture_keeps_its_colours(
    tmp_path: Path, kind: str, within: int
) -> None:
    # Arrange
    drawn(kind).save(tmp_path / kind)

    # Act
    volume = read_volume(tmp_path / kind)

    # Assert
    assert volume.modality == "XC"
    assert volume.colour is not None
    assert volume.colour.dtype == np.uint8
    assert volume.colour.shape == (1, 4, 6, 3)
    np.testing.assert_allclose(volume.colour[0, 2, 0], (200, 0, 0), atol=within)
    np.testing.assert_allclose(volume.colour[0, 2, 5], (0, 0, 100), atol=within)
    luminance = volume.colour[0] @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(volume.intensities[0], luminance, atol=1e-3)


def test_a_grey_picture_in_hounsfield_units_is_ct(tmp_path: Path) -> None:
    hounsfield = np.array([[-1000, 40], [60, 300]], dtype=np.float32)
    Image.fromarray(hounsfield).save(tmp_path / "a.tif")

    assert read_volume(tmp_path / "a.tif").modality == "CT"


def test_a_picture_whose_modality_is_said_keeps_its_colours(tmp_path: Path) -> None:
    drawn("RGB.png").save(tmp_path / "a.png")

    volume = read_volume(tmp_path / "a.png", modality="ES")

    assert volume.modality == "ES"
    assert volume.colour is not None


@pytest.mark.parametrize("shape", [(1, 1), (8, 5000), (5000, 8), (1, 300)])
@pytest.mark.parametrize("channels", [(), (3,)], ids=["grey", "colour"])
def test_pictures_of_any_shape_are_read(
    tmp_path: Path, shape: tuple[int, int], channels: Any
) -> None:
    # Arrange
    pixels = np.zeros((*shape, *channels), dtype=np.uint8)
    pixels[-1, -1] = (9, 8, 7) if channels else 9
    Image.fromarray(pixels).save(tmp_path / "a.png")

    # Act
    volume = read_volume(tmp_path / "a.png")

    # Assert
    assert volume.intensities.shape == (1, *shape)
    assert volume.intensities[0, -1, -1] > 7
    assert (volume.colour is not None) == bool(channels)
    assert WorkingGrid.of(volume.geometry).is_identity


def test_a_cameras_photograph_with_a_small_copy_behind_it_is_one_picture(tmp_path: Path) -> None:
    photograph = Image.fromarray(np.full((40, 60, 3), (120, 60, 30), dtype=np.uint8))
    small = photograph.resize((6, 4))
    photograph.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[small])

    volume = read_volume(tmp_path / "a.jpg")

    assert volume.colour is not None
    assert volume.colour.shape == (1, 40, 60, 3)


@pytest.mark.parametrize("kind", ["several.tif", "cut.png", "words.jpg"])
def test_a_picture_that_cannot_be_read_says_why(tmp_path: Path, kind: str) -> None:
    # Arrange
    path = tmp_path / kind
    if kind == "several.tif":
        drawn("L.png").save(path, save_all=True, append_images=[drawn("L.png")])
    elif kind == "cut.png":
        drawn("RGB.png").save(path)
        path.write_bytes(path.read_bytes()[:50])
    else:
        path.write_text("no picture")
    several = "several images; give them one by one"
    said = several if kind == "several.tif" else "damaged or not what its name says"

    # Act, Assert
    with pytest.raises(UnreadableFile, match=said):
        read_volume(path)


def test_the_modality_can_be_said(tmp_path: Path, stored: NDArray[np.int16]) -> None:
    nibabel.Nifti1Image(stored, RAS).to_filename(tmp_path / "a.nii")

    assert read_volume(tmp_path / "a.nii", modality="PT").modality == "PT"


def test_what_is_no_number_becomes_the_lowest(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    values[1, 1, 1] = np.nan
    nibabel.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / "a.nii")

    volume = read_volume(tmp_path / "a.nii")

    assert volume.intensities[1, 1, 1] == 0
    assert volume.modality == "MR"


def test_a_two_dimensional_nifti_and_a_trailing_axis_of_one_are_volumes(tmp_path: Path) -> None:
    nibabel.Nifti1Image(np.ones((4, 5), np.float32), np.eye(4)).to_filename(tmp_path / "a.nii")
    nibabel.Nifti1Image(np.ones((4, 5, 6, 1), np.float32), np.eye(4)).to_filename(
        tmp_path / "b.nii"
    )

    assert read_volume(tmp_path / "a.nii").intensities.shape == (1, 5, 4)
    assert read_volume(tmp_path / "b.nii").intensities.shape == (6, 5, 4)


def write_bad(folder: Path, kind: Any) -> Any:
    """A file of the wrong kind; its path."""
    path = folder / kind
    if kind == "series.nii":
        nibabel.Nifti1Image(np.ones((4, 4, 4, 3), np.float32), np.eye(4)).to_filename(path)
    elif kind == "colour.nii":
        rgb = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
        nibabel.Nifti1Image(rgb, np.eye(4)).to_filename(path)
    elif kind == "cut.nii.gz":
        whole = folder / "whole.nii.gz"
        noise = np.random.default_rng(0).random((20, 20, 20), dtype=np.float32)
        nibabel.Nifti1Image(noise, np.eye(4)).to_filename(whole)
        path.write_bytes(whole.read_bytes()[:8000])
    elif kind == "vectors.nrrd":
        vectors = SimpleITK.GetImageFromArray(np.ones((3, 3, 3, 2), np.float32), isVector=True)
        SimpleITK.WriteImage(vectors, str(path))
    elif kind == "frames.tif":
        frames = [Image.fromarray(np.full((4, 4), n, np.uint8)) for n in range(3)]
        frames[0].save(path, save_all=True, append_images=frames[1:])
    elif kind == "nan.nii":
        nibabel.Nifti1Image(np.full((2, 2, 2), np.nan, np.float32), np.eye(4)).to_filename(path)
    elif kind != "gone.nii":
        path.write_bytes(b"not what the name says")
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("gone.nii", "there is no such file"),
        ("text.nii", "damaged or not what its name says"),
        ("cut.nii.gz", "damaged or not what its name says"),
        ("text.nrrd", "damaged or not what its name says"),
        ("text.png", "damaged or not what its name says"),
        ("nan.nii", "no finite number"),
        ("series.nii", "4 dimensions; give one volume"),
        ("colour.nii", "it holds colour"),
        ("vectors.nrrd", "several values a voxel"),
        ("frames.tif", "several images"),
        ("letter.docx", "ends in none of .nii, .nii.gz"),
    ],
)
def test_what_cannot_be_read_says_why_in_one_sentence(
    tmp_path: Path, kind: str, reason: str
) -> None:
    path = write_bad(tmp_path, kind)

    with pytest.raises(UnreadableFile, match=reason) as caught:
        read_volume(path)

    assert str(caught.value).startswith(kind)


def test_names_tell_what_can_be_read(tmp_path: Path) -> None:
    assert can_read(tmp_path / "A.NII.GZ")
    assert not can_read(tmp_path / "a.dcm")
    assert is_picture(tmp_path / "a.JPEG")
    assert not is_picture(tmp_path / "a.nrrd")


def test_a_label_map_lies_on_the_sources_own_voxels(
    tmp_path: Path, stored: NDArray[np.int16]
) -> None:
    # Arrange
    nibabel.Nifti1Image(stored, RAS).to_filename(tmp_path / "ct.nii.gz")
    volume = read_volume(tmp_path / "ct.nii.gz")
    liver, spleen = np.zeros((2, *volume.intensities.shape), dtype=bool)
    liver[1:4, 2, 1] = True
    spleen[3:6, 2, 1] = True  # one voxel shared with the liver

    # Act
    sidecar = write_label_map(
        tmp_path / "labels.nii.gz",
        volume.geometry,
        [
            (LabelledStructure("liver", (221, 130, 101)), Mask(liver, volume.geometry)),
            (LabelledStructure("spleen", (157, 108, 162)), Mask(spleen, volume.geometry)),
        ],
        [LabelledStructure("aorta", (224, 97, 76), {"status": "absent"})],
    )

    # Assert
    image: Any = nibabel.load(tmp_path / "labels.nii.gz")
    labels = np.asarray(image.dataobj)
    np.testing.assert_allclose(image.affine, RAS)
    assert labels.shape == stored.shape
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels[1, 2], [0, 1, 1, 1, 2, 2, 0])
    assert np.count_nonzero(labels) == 5
    assert [int(image.header[f"{form}form_code"]) for form in "qs"] == [1, 1]
    np.testing.assert_allclose(image.get_qform(), RAS, atol=1e-5)
    said = json.loads(sidecar.read_text())
    assert sidecar.name == "labels.json"
    assert said["version"] == 2
    assert said["without_label"] == [
        {"text": "aorta", "colour_rgb": [224, 97, 76], "status": "absent"}
    ]
    assert [(s["value"], s["text"], s["overlapped_voxels"]) for s in said["structures"]] == [
        (1, "liver", 0),
        (2, "spleen", 1),
    ]
    assert said["structures"][0]["volume_ml"] == pytest.approx(3 * 0.8 * 0.9 * 2.5 / 1000)


def test_a_label_map_of_nothing_of_too_much_or_of_two_grids_is_refused(tmp_path: Path) -> None:
    grid = Geometry((1, 2, 2), np.eye(4))
    mask = Mask(np.ones((1, 2, 2), dtype=bool), grid)
    moved = Mask(mask.voxels, Geometry((1, 2, 2), np.diag([1.0, 1, 2, 1])))

    with pytest.raises(ValueError, match="at least one"):
        write_label_map(tmp_path / "a.nii.gz", grid, [])
    with pytest.raises(ValueError, match="255 structures at most"):
        write_label_map(tmp_path / "a.nii.gz", grid, [(named(str(n)), mask) for n in range(256)])
    with pytest.raises(ValueError, match="mask of spleen is on another grid"):
        write_label_map(
            tmp_path / "a.nii.gz", grid, [(named("liver"), mask), (named("spleen"), moved)]
        )
    assert list(tmp_path.iterdir()) == []


def test_pictures_are_0_and_255_at_source_size(tmp_path: Path) -> None:
    # Arrange
    voxels = np.zeros((1, 3, 5), dtype=bool)
    voxels[0, 1, 2:4] = True
    mask = Mask(voxels, Geometry(voxels.shape, np.eye(4)))

    # Act
    written = write_pictures(
        tmp_path,
        [(named("left kidney"), mask), (named("Left_Kidney"), mask), (named("Ω/../x"), mask)],
        [named("spleen")],
    )

    # Assert
    assert [path.name for path in written] == ["left_kidney.png", "left_kidney_2.png", "ω_x.png"]
    with Image.open(written[0]) as picture:
        assert picture.mode == "L"
        np.testing.assert_array_equal(np.asarray(picture), voxels[0] * 255)
    sidecar = json.loads((tmp_path / "segmentation.json").read_text("utf-8"))
    assert [(s["picture"], s["text"], s["area_px"]) for s in sidecar["structures"]] == [
        ("left_kidney.png", "left kidney", 2),
        ("left_kidney_2.png", "Left_Kidney", 2),
        ("ω_x.png", "Ω/../x", 2),
    ]
    assert [s["text"] for s in sidecar["without_label"]] == ["spleen"]
    deep = Mask(np.ones((2, 1, 1), dtype=bool), Geometry((2, 1, 1), np.eye(4)))
    with pytest.raises(ValueError, match="2 slices"):
        write_pictures(tmp_path, [(named("liver"), deep)])


def test_a_side_car_names_the_pictures_of_its_own_folder_alone(tmp_path: Path) -> None:
    inner = tmp_path / "out"
    inner.mkdir()
    assert earlier_pictures(inner) == []
    for text in ("{", "[]", '{"structures": [{"value": 1}]}', '{"structures": 3}'):
        (inner / "segmentation.json").write_text(text, "utf-8")
        assert earlier_pictures(inner) == []
    names = ["liver.png", "../scan.png", "/etc/scan.png", "notes.txt", 3]
    content = {"structures": [{"picture": name} for name in names]}
    (inner / "segmentation.json").write_text(json.dumps(content), "utf-8")

    assert earlier_pictures(inner) == [inner / "liver.png", inner / "scan.png", inner / "scan.png"]


@pytest.mark.parametrize(
    ("text", "stem"), [("left kidney", "left_kidney"), ("  ", "structure"), ("a" * 300, "a" * 80)]
)
def test_a_structures_text_becomes_a_harmless_name(text: str, stem: str) -> None:
    assert file_stem(text) == stem


def test_a_picture_goes_through_and_comes_back_at_its_size(tmp_path: Path) -> None:
    pixels = np.zeros((7, 11), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    volume: Volume = read_volume(tmp_path / "a.png")

    mask = WorkingGrid.of(volume.geometry).to_source(np.ones((1, 7, 11), dtype=bool))

    assert write_pictures(tmp_path, [(named("liver"), mask)]) == [tmp_path / "liver.png"]
