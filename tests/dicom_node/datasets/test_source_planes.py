"""Where a volume's slices lie, in the digits of its own files wherever these are legal and true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_node.datasets.source_planes import Planes, decimal_strings, numbers, read_planes
from dicom_node.series.header import read_header
from dicom_node.volume.volume import load_volume
from tests.support import phantoms

SMALL: dict[str, Any] = {"shape": (3, 10, 12), "spacing_mm": (5.0, 20.0, 18.0)}


def planes_of(folder: Path, **options: Any) -> tuple[Planes, phantoms.Phantom]:
    """The planes of a small series; `edit` is made while its files are written."""
    phantom = phantoms.torso_ct(folder, **SMALL | options)
    return read_planes(load_volume([read_header(path) for path in phantom.paths])), phantom


def test_the_digits_are_the_files_own_in_the_volumes_order(tmp_path: Path) -> None:
    def spell(z: int, ds: Dataset) -> None:
        ds.ImagePositionPatient = [f"{float(part):.4f}" for part in ds.ImagePositionPatient]
        ds.PixelSpacing = ["20.000", "18.0"]

    planes, phantom = planes_of(tmp_path, edit=spell)

    heights = [position[2] for position in planes.positions]
    assert len(heights) == 3
    assert all(height[-5] == "." for height in heights)  # four digits, as they were written
    assert np.diff([float(height) for height in heights]).tolist() == [5.0, 5.0]
    assert planes.pixel_spacing_mm == ("20.000", "18.0")
    assert [float(part) for part in planes.orientation] == [1, 0, 0, 0, 1, 0]
    assert phantom.paths


def test_digits_that_are_no_legal_decimal_string_are_written_anew(tmp_path: Path) -> None:
    planes, phantom = planes_of(tmp_path)
    for path in phantom.paths:
        raw = path.read_bytes()
        path.write_bytes(raw.replace(b"20.0\\18.0 ", b"20,0\\18.0 "))

    again = read_planes(load_volume([read_header(path) for path in phantom.paths]))

    assert planes.pixel_spacing_mm == ("20.0", "18.0")
    assert again.pixel_spacing_mm == ("20.0", "18.0")


@pytest.mark.parametrize("thickness", [None, 0, -3])
def test_without_a_thickness_it_is_the_step(tmp_path: Path, thickness: float | None) -> None:
    planes, _ = planes_of(tmp_path, edit=phantoms.setting(SliceThickness=thickness))

    assert float(planes.slice_thickness_mm) == 5.0


def test_a_thickness_of_its_own_is_kept(tmp_path: Path) -> None:
    planes, _ = planes_of(tmp_path, edit=phantoms.setting(SliceThickness="7.50"))

    assert planes.slice_thickness_mm == "7.50"


def test_the_frames_of_one_object_state_each_their_own(tmp_path: Path) -> None:
    def spell(z: int, ds: Dataset) -> None:
        for group in ds.PerFrameFunctionalGroupsSequence:
            place = group.PlanePositionSequence[0]
            place.ImagePositionPatient = [f"{float(x):.4f}" for x in place.ImagePositionPatient]

    planes, _ = planes_of(tmp_path, enhanced=True, edit=spell)

    assert all(position[2][-5] == "." for position in planes.positions)
    heights = [float(position[2]) for position in planes.positions]
    assert np.diff(heights).tolist() == [5.0, 5.0]
    assert [float(part) for part in planes.pixel_spacing_mm] == [20.0, 18.0]


def test_a_place_that_is_not_the_volumes_is_not_repeated(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    volume = load_volume([read_header(path) for path in phantom.paths])
    phantoms.rewrite(volume.frames[1].path, ImagePositionPatient=["0", "0", "777"])

    planes = read_planes(volume)

    origin = volume.affine_zyx_to_lps[:3, 3] + volume.affine_zyx_to_lps[:3, 0]
    assert [float(part) for part in planes.positions[1]] == origin.tolist()


def test_single_slices_are_not_opened_again(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    volume = load_volume([read_header(path) for path in phantom.paths])
    with_files = read_planes(volume)
    for path in phantom.paths:
        path.unlink()

    assert read_planes(volume) == with_files


def test_an_object_of_many_frames_that_is_gone_is_an_os_error(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, enhanced=True, **SMALL)
    volume = load_volume([read_header(path) for path in phantom.paths])
    phantom.paths[0].unlink()

    with pytest.raises(OSError, match="No such file"):
        read_planes(volume)


def test_a_value_is_split_as_it_was_written() -> None:
    ds = Dataset()
    assert decimal_strings(ds, "PixelSpacing") == ()
    ds.PixelSpacing = ["0.50", "0.7"]
    assert decimal_strings(ds, "PixelSpacing") == ("0.50", "0.7")
    ds.SliceThickness = None
    assert decimal_strings(ds, "SliceThickness") == ()


def test_numbers_are_all_there_or_none_is() -> None:
    array = numbers(["1", "2.5"], 2)
    assert array is not None
    assert array.tolist() == [1.0, 2.5]
    assert numbers(["1", "x"], 2) is None
    assert numbers(["1", "x"], 1) is None
    assert numbers(["1"], 2) is None
    assert numbers(["1", "2", "3"], 2) is None
