"""From the headers of a series to its planes: repeats, scouts and strays are set aside and told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import NotAVolume
from dicom_node.series.planes import by_orientation, planes_of
from dicom_node.values import InstanceHeader

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def header(
    number: int, orientation: tuple[float, float, float, float, float, float] = AXIAL
) -> InstanceHeader:
    return InstanceHeader(
        Path(f"{number}.dcm"),
        "1.2",
        "1.2.3",
        f"1.2.3.{number}",
        "1.2.840.10008.5.1.4.1.1.2",
        "1.2.840.10008.1.2.1",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        instance_number=number,
        rows=4,
        columns=5,
        image_position_mm=(0.0, 0.0, 2.5 * number),
        image_orientation=orientation,
        pixel_spacing_mm=(0.7, 0.8),
    )


SLICES = [header(number) for number in range(1, 13)]


def test_a_plane_is_what_its_header_says() -> None:
    stated = replace(
        header(3),
        acquisition_number=2,
        temporal_position=4,
        slice_thickness_mm=2.0,
        of_set={"EchoNumbers": "1", "SpacingBetweenSlices": "2.5"},
    )

    (plane,), sentences = planes_of([stated])

    assert plane.position_mm == (0.0, 0.0, 7.5)
    assert (plane.shape, plane.pixel_spacing_mm) == ((4, 5), (0.7, 0.8))
    assert (plane.slice_thickness_mm, plane.spacing_between_slices_mm) == (2.0, 2.5)
    assert plane.phase == {
        "EchoNumbers": "1",
        "SpacingBetweenSlices": "2.5",
        "TemporalPositionIdentifier": "4",
        "AcquisitionNumber": "2",
        "ImageType": "ORIGINAL\\PRIMARY\\AXIAL",
    }
    assert sentences == ()


def test_localizers_are_left_out_unless_there_is_nothing_else() -> None:
    scout = replace(header(20), image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))

    planes, sentences = planes_of([*SLICES, scout])

    assert [plane.source.instance_number for plane in planes] == list(range(1, 13))
    assert sentences == ("Left out as localizers inside the series: instance 20.",)
    assert len(planes_of([scout])[0]) == 1


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
        ("image_position_mm", "Image Position"),
        ("image_orientation", "Image Orientation"),
        ("pixel_spacing_mm", "Pixel Spacing"),
        ("rows", "Rows"),
        ("columns", "Columns"),
    ],
)
def test_an_image_without_a_place_is_named(attribute: str, name: str) -> None:
    nothing: dict[str, Any] = {attribute: None}
    lacking = replace(header(2), **nothing)

    with pytest.raises(NotAVolume, match=rf"{name} .*is missing .* instance 2 of 3 images"):
        planes_of([header(1), lacking, header(3)])


def test_an_instance_in_two_files_counts_once(tmp_path: Path) -> None:
    # files of equal bytes: no other contents can be told
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"the same")
    twice = [replace(header(1), path=tmp_path / name) for name in ("a", "b")]

    planes, sentences = planes_of([*twice, header(2)])

    assert len(planes) == 2
    assert sentences == ("Counted once although sent twice: instance 1.",)


@pytest.mark.parametrize("count", [1, 3])
def test_a_few_planes_across_the_others_are_left_out(count: int) -> None:
    strays = [header(30 + number, CORONAL) for number in range(count)]

    planes, sentences = planes_of([*SLICES, *strays])

    assert len(planes) == len(SLICES)
    assert "Left out because they run across the other slices" in sentences[0]


def test_more_of_them_are_a_second_stack_which_is_not_for_this_to_leave_out() -> None:
    strays = [header(30 + number, CORONAL) for number in range(4)]

    assert len(planes_of([*SLICES, *strays])[0]) == len(SLICES) + 4


def test_a_slight_tilt_is_no_stray() -> None:
    tilted = (1.0, 0.0, 0.0, 0.0, 0.9961947, 0.0871557)  # 5 degrees about x

    assert len(planes_of([*SLICES, header(30, tilted)])[0]) == len(SLICES) + 1


def test_planes_are_grouped_by_the_way_they_run() -> None:
    planes, _ = planes_of([header(1), header(2, CORONAL), header(3), header(4, CORONAL)])

    groups = by_orientation(planes)

    numbers = [[plane.source.instance_number for plane in group] for group in groups]
    assert numbers == [[1, 3], [2, 4]]
