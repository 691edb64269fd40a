"""Several volumes at one place: which planes are taken, on planes made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dicom_node.errors import NotAVolume
from dicom_node.series.geometry import Stack, arrange
from dicom_node.series.phases import one_set, untangled, why_none
from dicom_node.series.plane import Plane
from dicom_node.values import SourceFrame

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def plane(
    number: int, height_mm: float, phase: Mapping[str, str], thickness_mm: float | None = None
) -> Plane:
    source = SourceFrame(Path(f"{number:03}.dcm"), "", f"1.2.{number}", number)
    return Plane(
        source,
        (0.0, 0.0, height_mm),
        AXIAL,
        (0.7, 0.7),
        (3, 4),
        image_type=("ORIGINAL", "PRIMARY"),
        slice_thickness_mm=thickness_mm,
        phase=phase,
    )


def stack_of(
    keyword: str, values: Sequence[str], heights_mm: Sequence[float], first: int = 1
) -> list[Plane]:
    """A plane at each height for each value, in the order of the values."""
    pairs = [(value, height) for value in values for height in heights_mm]
    return [
        plane(number, height, {keyword: value})
        for number, (value, height) in enumerate(pairs, start=first)
    ]


def numbers_of(stack: Stack | None) -> list[int | None]:
    assert stack is not None
    return [each.source.instance_number for each in stack.planes]


HEIGHTS = (0.0, 2.0, 4.0, 6.0)


def test_the_first_echo_is_taken_and_told() -> None:
    planes = stack_of("EchoTime", ("90", "20"), HEIGHTS)

    stack = one_set(planes)

    assert numbers_of(stack) == [5, 6, 7, 8]
    assert stack is not None
    assert stack.warnings[-1] == (
        "The series holds 2 volumes at one place, told apart by EchoTime (20, 90): "
        "the first whole one (EchoTime 20, instances 5-8) is used."
    )


def test_an_echo_that_lacks_a_slice_is_passed_over() -> None:
    planes = stack_of("EchoTime", ("20", "90"), HEIGHTS)
    lacking = [each for each in planes if each.source.instance_number != 2]

    assert numbers_of(one_set(lacking)) == [5, 6, 7, 8]


def test_another_kind_of_image_never_stands_in_for_the_first() -> None:
    # magnitude lacks a slice, and the phase image is whole: it shows something else
    planes = stack_of("ComplexImageComponent", ("MAGNITUDE", "PHASE"), HEIGHTS)
    lacking = [each for each in planes if each.source.instance_number != 2]

    assert one_set(planes) is not None
    assert one_set(lacking) is None


def test_a_value_for_every_slice_makes_no_sets() -> None:
    planes = stack_of("EchoTime", ("20", "90"), HEIGHTS)
    told_apart = [
        plane(number, each.position_mm[2], {**each.phase, "TriggerTime": str(number)})
        for number, each in enumerate(planes)
    ]

    assert numbers_of(one_set(told_apart)) == [0, 1, 2, 3]


def test_planes_that_nothing_tells_apart_make_no_set() -> None:
    planes = [plane(number, height, {}) for number, height in enumerate((*HEIGHTS, *HEIGHTS))]

    assert one_set(planes) is None


def test_passes_one_after_the_other_are_told_by_their_times() -> None:
    # four slices, then the same four again: each has a time of its own
    planes = [
        plane(number, height, {"AcquisitionTime": f"{100000 + number}"})
        for number, height in enumerate((*HEIGHTS, *HEIGHTS))
    ]

    assert numbers_of(one_set(planes)) == [0, 1, 2, 3]


def woven(thickness_mm: float) -> Stack:
    """Eight slices 2 mm apart, of two acquisitions in turns."""
    planes = [
        plane(number, 2.0 * number, {"AcquisitionNumber": str(1 + number % 2)}, thickness_mm)
        for number in range(8)
    ]
    return arrange(planes)


def test_slices_that_overlap_are_two_acquisitions_of_which_one_is_taken() -> None:
    stack = untangled(woven(thickness_mm=4.0))

    assert numbers_of(stack) == [0, 2, 4, 6]
    assert "told apart by AcquisitionNumber (1, 2)" in stack.warnings[-1]


def test_slices_that_do_not_overlap_are_one_interleaved_scan() -> None:
    stack = untangled(woven(thickness_mm=2.0))

    assert len(stack.planes) == 8
    assert "taken for one interleaved scan" in stack.warnings[-1]


def test_why_the_first_of_several_sets_is_no_volume() -> None:
    # the first echo has a gap
    planes = stack_of("EchoTime", ("20", "90"), (0.0, 2.0, 4.0, 6.0, 8.0))
    lacking = [each for each in planes if each.source.instance_number not in (3, 8)]
    fallback = NotAVolume("as it is.")

    reason = str(why_none(lacking, fallback))

    assert reason.startswith("The series holds 2 sets of images at one place")
    assert "The one to take (EchoTime 20, instances 1, 2, 4, 5) is no volume" in reason


def test_why_planes_at_places_of_their_own_are_none_is_not_explained_by_sets() -> None:
    fallback = NotAVolume("as it is.")
    between = [
        plane(4 + number, height + 1, {"EchoTime": "90"}) for number, height in enumerate(HEIGHTS)
    ]

    assert why_none([*stack_of("EchoTime", ("20",), HEIGHTS), *between], fallback) is fallback
