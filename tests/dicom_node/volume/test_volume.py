"""A series becomes a volume whose voxels lie where the patient is, in whatever order and direction
it was acquired.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_node.series.header import read_header
from dicom_node.values import InstanceHeader
from dicom_node.volume.volume import load_volume
from tests.support import phantoms

SMALL: dict[str, Any] = {"shape": (6, 10, 12), "spacing_mm": (5.0, 20.0, 18.0)}
NAMED = [
    "axial",
    "sagittal",
    "coronal",
    "prone",
    "negated_rows",
    "negated_columns",
    "oblique",
    "oblique_sagittal",
]


def headers_in(folder: Path) -> list[InstanceHeader]:
    return [read_header(path) for path in sorted(folder.rglob("*.dcm"))]


@pytest.mark.parametrize("orientation", NAMED)
@pytest.mark.parametrize("shuffle", [None, 11])
def test_every_orientation_and_order_gives_the_phantom_back(
    tmp_path: Path, orientation: Any, shuffle: int | None
) -> None:
    phantom = phantoms.torso_ct(tmp_path, orientation=orientation, shuffle=shuffle, **SMALL)

    volume = load_volume(headers_in(tmp_path))

    assert np.array_equal(volume.intensities, phantom.hu.astype(np.float32))
    assert np.allclose(volume.affine_zyx_to_lps, phantom.affine_zyx_to_lps, atol=1e-4)
    assert volume.intensities.dtype == np.float32
    assert volume.series_instance_uid == phantom.series_instance_uid
    assert volume.frame_of_reference_uid == phantom.frame_of_reference_uid
    assert volume.warnings == ()


def test_feet_first_is_turned_to_rising_z(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, feet_first=True, **SMALL)

    volume = load_volume(headers_in(tmp_path))

    assert [frame.instance_number for frame in volume.frames] == [6, 5, 4, 3, 2, 1]
    assert np.array_equal(volume.intensities, phantom.hu)


def test_frames_name_the_file_of_every_slice(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, shuffle=5, **SMALL)

    volume = load_volume(headers_in(tmp_path))

    assert [phantom.z_of_path[frame.path] for frame in volume.frames] == [0, 1, 2, 3, 4, 5]


@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    mirrored=st.booleans(),
    order=st.randoms(use_true_random=False),
    spacing=st.tuples(*[st.floats(0.5, 6)] * 3),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_marked_voxel_lies_at_its_known_place(
    tmp_path_factory: pytest.TempPathFactory, angles: Any, mirrored: bool, order: Any, spacing: Any
) -> None:
    folder = tmp_path_factory.mktemp("series")
    row, column = rotation(angles)[:, :2].T
    cosines = (*row, *(-column if mirrored else column))
    marked = (order.randrange(4), order.randrange(5), order.randrange(7))

    hu = np.zeros((4, 5, 7), np.int16)
    hu[marked] = 777

    phantoms.torso_ct(
        folder,
        orientation=cosines,
        shape=(4, 5, 7),
        spacing_mm=spacing,
        shuffle=order.randrange(1000),
        hu=hu,
    )

    volume = load_volume(headers_in(folder))
    found = np.argwhere(volume.intensities == 777)
    place = volume.affine_zyx_to_lps @ (*found[0], 1)

    # by hand: the middle of the grid is the origin, steps along normal, column and row
    normal = np.cross(cosines[:3], cosines[3:])
    expected = (
        (marked[0] - 1.5) * spacing[0] * normal
        + (marked[1] - 2) * spacing[1] * np.array(cosines[3:])
        + (marked[2] - 3) * spacing[2] * np.array(cosines[:3])
    )
    assert len(found) == 1
    assert np.allclose(place[:3], expected, atol=1e-3)
    assert np.allclose(itk_place(volume, marked), expected, atol=1e-3)


def rotation(angles_deg: Any) -> np.ndarray:
    """Rz Ry Rx, written out."""
    (cx, sx), (cy, sy), (cz, sz) = [
        (math.cos(math.radians(a)), math.sin(math.radians(a))) for a in angles_deg
    ]
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def itk_place(volume: Any, marked: Any) -> tuple[float, float, float]:
    """Where another reader says the marked voxel is, given the files in our order."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(frame.path) for frame in volume.frames])
    image = reader.Execute()
    z, y, x = marked
    assert SimpleITK.GetArrayFromImage(image)[z, y, x] == 777
    return image.TransformIndexToPhysicalPoint((x, y, z))


def test_the_order_of_headers_does_not_matter(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)

    volume = load_volume(headers_in(tmp_path)[::-1])

    assert np.array_equal(volume.intensities, phantom.hu)


def test_small_jitter_of_positions_is_a_volume(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, moved_mm={2: 0.1, 3: -0.08}, **SMALL)

    volume = load_volume(headers_in(tmp_path))

    assert np.allclose(volume.affine_zyx_to_lps, phantom.affine_zyx_to_lps, atol=1e-4)


def test_gaps_between_thin_slices_are_told(tmp_path: Path) -> None:
    phantoms.torso_ct(tmp_path, edit=phantoms.setting(SliceThickness=1), **SMALL)

    volume = load_volume(headers_in(tmp_path))

    assert len(volume.warnings) == 1
    assert "5.00 mm apart but 1.00 mm thick" in volume.warnings[0]


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("orientation", ["axial", "oblique", "sagittal"])
def test_enhanced_objects_are_volumes_too(tmp_path: Path, enhanced: bool, orientation: str) -> None:
    phantom = phantoms.torso_ct(
        tmp_path, orientation=orientation, enhanced=enhanced, shuffle=4, **SMALL
    )

    volume = load_volume(headers_in(tmp_path))

    assert np.array_equal(volume.intensities, phantom.hu)
    assert np.allclose(volume.affine_zyx_to_lps, phantom.affine_zyx_to_lps, atol=1e-4)
    assert (volume.frames[0].frame_number is not None) == enhanced


def test_frames_of_an_enhanced_object_are_sorted_and_named(tmp_path: Path) -> None:
    phantoms.torso_ct(tmp_path, enhanced=True, feet_first=True, **SMALL)

    volume = load_volume(headers_in(tmp_path))

    assert [frame.frame_number for frame in volume.frames] == [6, 5, 4, 3, 2, 1]


def test_the_first_phase_of_an_enhanced_object_is_used(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, enhanced=True, phases=2, **SMALL)

    volume = load_volume(headers_in(tmp_path))

    assert np.array_equal(volume.intensities, phantom.hu)
    assert [frame.frame_number for frame in volume.frames] == [1, 2, 3, 4, 5, 6]
    assert "2 volumes at one place, told apart by TemporalPositionIndex" in volume.warnings[0]


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("AcquisitionNumber", (1, 2)),
        ("TemporalPositionIdentifier", (1, 2)),
        ("EchoTime", (2.5, 80)),
        ("DiffusionBValue", (0, 1000)),
    ],
)
def test_phases_are_told_apart_by_whatever_tells_them(
    tmp_path: Path, keyword: str, values: tuple[float, int]
) -> None:
    def label(z: int, ds: Dataset) -> None:
        phase = ds.AcquisitionNumber
        ds.AcquisitionNumber = 1
        setattr(ds, keyword, values[phase - 1])
        ds.RescaleIntercept = -1024 if phase == 1 else 5000

    phantom = phantoms.torso_ct(tmp_path, phases=2, edit=label, shuffle=2, **SMALL)

    volume = load_volume(headers_in(tmp_path))

    assert np.array_equal(volume.intensities, phantom.hu)
    assert f"told apart by {keyword}" in volume.warnings[0]


def test_a_phase_that_lacks_slices_is_passed_over(tmp_path: Path) -> None:
    phantoms.torso_ct(tmp_path, phases=2, **SMALL)
    (tmp_path / "torso-0006.dcm").unlink()  # the top slice of the first phase

    volume = load_volume(headers_in(tmp_path))

    assert [frame.instance_number for frame in volume.frames] == [7, 8, 9, 10, 11, 12]


def test_a_scout_inside_the_series_is_left_out(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, localizer=True, **SMALL)

    volume = load_volume(headers_in(tmp_path))

    assert np.array_equal(volume.intensities, phantom.hu)
    assert volume.warnings == ("Left out as localizers inside the series: instance 7.",)


def test_a_scout_that_does_not_say_so_is_left_out(tmp_path: Path) -> None:
    phantoms.torso_ct(tmp_path, localizer=True, **SMALL)
    phantoms.rewrite(tmp_path / "torso-localizer.dcm", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])

    volume = load_volume(headers_in(tmp_path))

    assert volume.intensities.shape == (6, 10, 12)
    assert "across the other slices" in volume.warnings[0]
    assert "instance 7" in volume.warnings[0]


def test_the_same_file_twice_counts_once(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    (tmp_path / "copy.dcm").write_bytes(phantom.paths[2].read_bytes())

    volume = load_volume(headers_in(tmp_path))

    assert volume.intensities.shape == (6, 10, 12)
    assert "nstance 3" in volume.warnings[0]
