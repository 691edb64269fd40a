"""Contours in the patient become masks by the even-odd rule, on the slices they were drawn on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.annotations.structure_set import read_structure_set_header, read_structures
from dicom_node.datasets.polygon_fill import inside_polygons
from dicom_node.values import SourceVolume
from tests.support import phantoms
from tests.support.radiotherapy.structure_sets import write_structure_set


def square(top: float, left: float, bottom: float, right: float) -> list[tuple[float, float]]:
    """The outline round pixels top..bottom and left..right, half a pixel outside their centres."""
    return [
        (top - 0.5, left - 0.5),
        (top - 0.5, right + 0.5),
        (bottom + 0.5, right + 0.5),
        (bottom + 0.5, left - 0.5),
    ]


@pytest.fixture
def volume(tmp_path: Path, volume_of: Any, request: pytest.FixtureRequest) -> SourceVolume:
    options = {"shape": (6, 40, 50)} | getattr(request, "param", {})
    return volume_of(phantoms.torso_ct(tmp_path / "ct", **options))


@pytest.mark.parametrize(
    "volume",
    [{}, {"orientation": "sagittal"}, {"orientation": "oblique"}],
    indirect=True,
    ids=str,
)
def test_contours_are_filled_where_they_lie_and_one_inside_another_is_a_hole(
    tmp_path: Path, volume: SourceVolume
) -> None:
    ring = [(2, square(5, 10, 20, 30)), (2, square(10, 15, 12, 20)), (3, square(6, 6, 8, 9))]
    path = write_structure_set(tmp_path / "rt.dcm", volume, {"Liver": ring})

    (liver,) = read_structures(path, volume)

    expected = np.zeros((6, 40, 50), dtype=bool)
    expected[2, 5:21, 10:31] = True
    expected[2, 10:13, 15:21] = False
    expected[3, 6:9, 6:10] = True
    np.testing.assert_array_equal(liver.voxels, expected)
    assert (liver.label, liver.fault, liver.automatic) == ("Liver", "", False)
    header = read_structure_set_header(path)
    assert header.series_instance_uid == volume.series_instance_uid
    assert header.frame_of_reference_uid == volume.frame_of_reference_uid


@pytest.mark.parametrize(
    ("polygons", "options", "fault"),
    [
        ([(2.4, square(5, 5, 9, 9))], {}, "its contour 1 lies 2.00 mm off the nearest slice"),
        ([(1, square(5, 5, 9, 9))], {"kind": "POINT"}, "its contour 1 is no closed plane"),
        ([(1, square(5, 5, 9, 9))], {"frame_of_reference_uid": "1.2.3"}, "another frame of ref"),
        ([], {}, "it has no contour"),
        ([(n, square(5, 5, 9, 9)) for n in (0, 3)], {}, "only 2 of the 4 slices"),
    ],
)
def test_a_structure_that_would_not_be_what_was_drawn_has_a_fault(
    tmp_path: Path, volume: SourceVolume, polygons: Any, options: Any, fault: str
) -> None:
    path = write_structure_set(tmp_path / "rt.dcm", volume, {"x": polygons}, **options)

    (structure,) = read_structures(path, volume)

    assert fault in structure.fault


def test_a_fault_of_one_structure_leaves_the_others(tmp_path: Path, volume: SourceVolume) -> None:
    path = write_structure_set(
        tmp_path / "rt.dcm",
        volume,
        {"a": [(2.5, square(1, 1, 3, 3))], "b": [(1, square(1, 1, 3, 3))]},
    )

    first, second = read_structures(path, volume)

    assert first.fault
    assert not first.voxels.any()
    assert (second.fault, int(second.voxels.sum())) == ("", 9)


def test_polygons_that_share_an_edge_share_no_pixel_and_leave_none_out() -> None:
    left, right = [(0, 0), (0, 3), (6, 3), (6, 0)], [(0, 3), (0, 8), (6, 8), (6, 3)]
    whole = [(0, 0), (0, 8), (6, 8), (6, 0)]

    masks = [inside_polygons([np.array(p, dtype=float)], (9, 9)) for p in (left, right, whole)]

    assert not (masks[0] & masks[1]).any()
    np.testing.assert_array_equal(masks[0] | masks[1], masks[2])
    assert masks[2].sum() == 48


def test_what_lies_beyond_the_slice_is_cut_off() -> None:
    beyond = np.array(square(-5, -5, 3, 30), dtype=float)

    mask = inside_polygons([beyond], (6, 8))

    assert mask[:4].all()
    assert not mask[4:].any()


@given(st.lists(st.tuples(st.floats(-3, 15), st.floats(-3, 15)), min_size=3, max_size=12))
@settings(max_examples=60)
def test_any_polygon_is_filled_as_the_crossings_of_a_ray_say(points: Any) -> None:
    polygon = np.array(points)

    mask = inside_polygons([polygon], (12, 12))

    for row in range(12):
        for column in range(12):
            crossings = 0
            for (r0, c0), (r1, c1) in zip(points, [*points[1:], points[0]], strict=True):
                if (r0 <= row) != (r1 <= row):
                    crossings += c0 + (c1 - c0) * ((row - r0) / (r1 - r0)) <= column
            assert mask[row, column] == bool(crossings % 2)
