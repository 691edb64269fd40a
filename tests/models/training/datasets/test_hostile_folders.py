"""A data set from a stranger: nothing is read outside its folder, and damage costs one case."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.errors import UnreadableFile, UnusableData
from models.images.label_maps import read_foreground, read_labels
from models.training.datasets.opening import open_dataset
from models.training.datasets.paths import files_below, inside, read_index, stem_of
from tests.support.dataset_folders import (
    index_png_folder,
    labelled,
    nnunet_folder,
    write_nifti,
)


def named(folder: Path, **options: Any) -> dict[str, str]:
    dataset = open_dataset(folder, **options)
    cases = list(dataset.cases())
    assert len(cases) + len({s.case_id for s in dataset.skipped if s.case_id}) >= len(dataset)
    return {s.file: s.reason for s in dataset.skipped}


@pytest.mark.parametrize("name", ["../secret.png", "image/../../secret.png", "/etc/hostname"])
def test_a_name_that_leaves_the_folder_is_not_followed(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.png").write_bytes(b"")

    with pytest.raises(UnreadableFile, match="outside the data set"):
        inside(tmp_path / "data", name)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnreadableFile):
        inside(tmp_path, name)


def test_a_link_out_of_the_folder_is_not_followed_and_one_within_is(tmp_path: Path) -> None:
    folder = index_png_folder(tmp_path / "data")
    Image.fromarray(np.zeros((12, 16), np.uint8)).save(tmp_path / "secret.png")
    (folder / "image" / "P_1_0.png").unlink()
    (folder / "image" / "P_1_0.png").symlink_to(tmp_path / "secret.png")
    (folder / "image" / "P_1_1.png").unlink()
    (folder / "image" / "P_1_1.png").symlink_to(folder / "image" / "P_2_0.png")

    assert list(named(folder)) == ["image/P_1_0.png"]


def test_links_in_a_circle_are_named(tmp_path: Path) -> None:
    folder = index_png_folder(tmp_path / "data")
    link = folder / "label" / "P_1_0.png"
    link.unlink()
    link.symlink_to(link)

    assert list(named(folder)) == ["label/P_1_0.png"]


def test_a_linked_folder_is_not_walked(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.nii").write_bytes(b"")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "outside")

    assert list(files_below(tmp_path / "data", (".nii",))) == []


@pytest.mark.parametrize("part", ["image", "label"])
@pytest.mark.parametrize("size", [0, 8, 40])
def test_a_truncated_picture_costs_its_case(tmp_path: Path, part: str, size: int) -> None:
    folder = index_png_folder(tmp_path)
    path = folder / part / "P_2_1.png"
    path.write_bytes(path.read_bytes()[:size])

    assert list(named(folder)) == [f"{part}/P_2_1.png"]


@pytest.mark.parametrize("size", [0, 20, 400, -30])
def test_a_truncated_volume_costs_its_case(tmp_path: Path, size: int) -> None:
    nnunet_folder(tmp_path)
    path = tmp_path / "imagesTr" / "liver_001_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:size])

    assert list(named(tmp_path)) == ["imagesTr/liver_001_0000.nii.gz"]


def test_a_header_that_announces_a_million_slices_is_not_believed(tmp_path: Path) -> None:
    nnunet_folder(tmp_path)
    path = tmp_path / "labelsTr" / "liver_001.nii.gz"
    header = bytearray(gzip.decompress(path.read_bytes()))
    header[40:56] = struct.pack("<8h", 3, 30_000, 30_000, 30_000, 1, 1, 1, 1)
    path.write_bytes(gzip.compress(bytes(header)))

    assert "too many" in named(tmp_path)["labelsTr/liver_001.nii.gz"]


def test_an_image_without_a_number_is_named_and_one_with_some_is_used(tmp_path: Path) -> None:
    nnunet_folder(tmp_path)
    image, _ = labelled()
    write_nifti(tmp_path / "imagesTr" / "liver_000_0000.nii.gz", np.full_like(image, np.nan))
    image[0, 0, 0] = np.nan
    write_nifti(tmp_path / "imagesTr" / "liver_001_0000.nii.gz", image)

    assert list(named(tmp_path)) == ["imagesTr/liver_000_0000.nii.gz"]


def test_a_truth_that_fills_the_image_is_left_out(tmp_path: Path) -> None:
    folder = index_png_folder(tmp_path)
    Image.fromarray(np.full((12, 16), 2, np.uint8)).save(folder / "label" / "P_1_0.png")

    assert "fills the whole image" in named(folder)["label/P_1_0.png"]


def test_values_without_a_name_are_told(tmp_path: Path) -> None:
    folder = index_png_folder(tmp_path)
    Image.fromarray(np.array(labelled()[1][2] * 3, np.uint8)).save(folder / "label" / "P_1_0.png")

    assert "values [3, 6] stand for no structure" in named(folder)["label/P_1_0.png"]


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, '{"labels": 3}'])
def test_an_index_that_is_none_is_refused_in_a_sentence(tmp_path: Path, content: str) -> None:
    index_png_folder(tmp_path)
    (tmp_path / "dataset.json").write_text(content)

    with pytest.raises(UnusableData):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"labels": [1]}, {"labels": {"x": "liver"}}, {"training": 3}, {"training": [3]}],
)
def test_an_index_of_other_types_is_refused_in_a_sentence(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(UnusableData):
        open_dataset(index_png_folder(tmp_path, **change))


def test_a_name_that_does_not_tell_the_patient_is_named(tmp_path: Path) -> None:
    folder = index_png_folder(tmp_path, training=["P_1_0.png", "odd.png"], validation=[])

    assert "does not tell the patient" in named(folder)["image/odd.png"]


def test_a_palettes_indices_are_the_labels_and_not_its_colours(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("P")
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode="P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / "label.png")

    values, _ = read_labels(tmp_path / "label.png")

    assert values.tolist() == [[[0, 1], [2, 1]]]


def test_a_label_map_in_colours_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "label.png")

    with pytest.raises(UnreadableFile, match="one value a pixel"):
        read_labels(tmp_path / "label.png")


@pytest.mark.parametrize(
    ("mode", "colour"), [("L", 1), ("RGB", (0, 0, 1)), ("RGBA", (1, 0, 0, 0)), ("1", 1)]
)
def test_what_is_not_black_is_foreground(
    tmp_path: Path, mode: str, colour: int | tuple[int, ...]
) -> None:
    picture = Image.new(mode, (3, 2))
    picture.putpixel((2, 1), colour)
    picture.save(tmp_path / "mask.png")

    assert read_foreground(tmp_path / "mask.png").tolist() == [
        [[False, False, False], [False, False, True]]
    ]


def test_an_index_is_read_and_a_stem_is_a_name_without_its_ending(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"b": 1}))

    assert read_index(tmp_path, "a.json") == {"b": 1}
    assert stem_of("x/liver_1.nii.gz") == "liver_1"
