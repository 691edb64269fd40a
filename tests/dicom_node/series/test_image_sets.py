"""Which images belong together, and which of several sets is taken: in a stated order, and said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.errors import NotAVolume
from dicom_node.series.choice import choose_series
from dicom_node.series.header import read_header
from dicom_node.values import InstanceHeader, SourceVolume
from dicom_node.volume.volume import load_volume
from tests.support import phantoms

SMALL: dict[str, Any] = {"shape": (6, 10, 12), "spacing_mm": (5.0, 20.0, 18.0)}
MR: dict[str, Any] = {"modality": "MR"} | SMALL


def headers_in(folder: Path) -> list[InstanceHeader]:
    return [read_header(path) for path in sorted(folder.rglob("*.dcm"))]


def volume_in(folder: Path) -> SourceVolume:
    return load_volume(choose_series(headers_in(folder)).headers)


def by_set(*sets: Mapping[str, Any]) -> Callable[[int, Dataset], None]:
    """An edit that gives each pass of `phases` its own attributes, and all one acquisition."""

    def edit(z: int, ds: Dataset) -> None:
        number = ds.AcquisitionNumber
        ds.AcquisitionNumber, ds.RescaleIntercept = 1, -1024 + 10 * number
        for keyword, value in sets[number - 1].items():
            setattr(ds, keyword, value)

    return edit


def image_types(*kinds: str) -> tuple[dict[str, list[str]], ...]:
    return tuple({"ImageType": kind.split("\\")} for kind in kinds)


PHILIPS = image_types(
    "ORIGINAL\\PRIMARY\\I_FFE\\I\\FFE",
    "ORIGINAL\\PRIMARY\\PHASE MAP\\P\\FFE",
    "ORIGINAL\\PRIMARY\\M_FFE\\M\\FFE",
    "ORIGINAL\\PRIMARY\\R_FFE\\R\\FFE",
)
SIEMENS = image_types(
    "ORIGINAL\\PRIMARY\\I\\ND",
    "ORIGINAL\\PRIMARY\\P\\ND",
    "ORIGINAL\\PRIMARY\\M\\ND\\NORM",
    "ORIGINAL\\PRIMARY\\R\\ND",
)
WORDS = image_types(
    "ORIGINAL\\PRIMARY\\IMAGINARY",
    "ORIGINAL\\PRIMARY\\PHASE",
    "ORIGINAL\\PRIMARY\\MAGNITUDE",
    "ORIGINAL\\PRIMARY\\REAL",
)
STATED = tuple(
    {"ComplexImageComponent": name} for name in ("IMAGINARY", "PHASE", "MAGNITUDE", "REAL")
)
# a velocity map is no anatomy even where it alone is original
VELOCITY = image_types(
    "ORIGINAL\\PRIMARY\\VELOCITY MAP\\P\\PCA",
    "ORIGINAL\\PRIMARY\\PHASE MAP\\P\\PCA",
    "DERIVED\\PRIMARY\\M_PCA\\M\\PCA",
)
SIEMENS_DIXON = image_types(
    "DERIVED\\PRIMARY\\DIXON\\FAT",
    "DERIVED\\PRIMARY\\DIXON\\OPP_PHASE",
    "DERIVED\\PRIMARY\\DIXON\\WATER",
    "DERIVED\\PRIMARY\\DIXON\\IN_PHASE",
)
PHILIPS_DIXON = image_types(
    "DERIVED\\PRIMARY\\F\\F\\DERIVED",
    "DERIVED\\PRIMARY\\OP\\OP\\DERIVED",
    "DERIVED\\PRIMARY\\W\\W\\DERIVED",
    "DERIVED\\PRIMARY\\IP\\IP\\DERIVED",
)
ORIGINAL_DIXON = image_types(
    "DERIVED\\PRIMARY\\W\\W\\DERIVED",
    "DERIVED\\PRIMARY\\F\\F\\DERIVED",
    "ORIGINAL\\PRIMARY\\IP\\IP\\FFE",
    "ORIGINAL\\PRIMARY\\OP\\OP\\FFE",
)
DERIVED = image_types(
    "DERIVED\\SECONDARY\\AVERAGE", "DERIVED\\SECONDARY\\MPR", "ORIGINAL\\PRIMARY\\AXIAL"
)
DIFFUSION = (
    {"DiffusionBValue": 1000.0, "DiffusionGradientOrientation": [1.0, 0.0, 0.0]},
    {"DiffusionBValue": 1000.0, "DiffusionGradientOrientation": [0.0, 1.0, 0.0]},
    {"DiffusionBValue": 0.0},
    {"DiffusionBValue": 500.0, "DiffusionGradientOrientation": [0.0, 1.0, 0.0]},
)


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (PHILIPS, "4 volumes at one place, told apart by component (magnitude, real, imaginary, phase)"),
        (SIEMENS, "component (magnitude, real, imaginary, phase): the first whole one (magnitude, instances"),
        (WORDS, "component (magnitude, real, imaginary, phase)"),
        (STATED, "component (magnitude, real, imaginary, phase)"),
        (VELOCITY, "component (magnitude, phase)"),
        (SIEMENS_DIXON, "Dixon contrast (water, in phase, opposed phase, fat)"),
        (PHILIPS_DIXON, "(water, instances 13-18)"),
        (ORIGINAL_DIXON, "ORIGINAL or DERIVED (original, derived), then Dixon contrast (in phase, opposed phase)"),
        (DERIVED, "ORIGINAL or DERIVED (original, derived): the first whole one (original, instances 13-18)"),
        (DIFFUSION, "DiffusionBValue (0.0, 500.0, 1000.0)"),
        (({"EchoTime": 80}, {"EchoTime": 12.5}, {"EchoTime": 4.6}, {"EchoTime": 120}), "EchoTime 4.6"),
        (({"ConvolutionKernel": "LUNG"}, {"ConvolutionKernel": "BONE"}, {"ConvolutionKernel": "SOFT"}), "ConvolutionKernel SOFT"),
        (({"InversionTime": 900}, {"InversionTime": 500}, {"InversionTime": 90}), "InversionTime 90"),
    ],
)  # fmt: skip
def test_the_third_set_is_the_one_to_take(
    tmp_path: Path, sets: tuple[dict[str, Any], ...], told: str
) -> None:
    edit = by_set(*sets)
    phantoms.torso_ct(tmp_path, phases=len(sets), edit=edit, **MR)

    volume = volume_in(tmp_path)

    assert [frame.instance_number for frame in volume.frames] == [13, 14, 15, 16, 17, 18]
    assert any(told in warning for warning in volume.warnings), volume.warnings


def ge_component(number: int) -> Callable[[Dataset], None]:
    def add(ds: Dataset) -> None:
        ds.add_new(0x00430010, "LO", "GEMS_PARM_01")
        ds.add_new(0x0043102F, "SS", number)

    return add


def b_value(
    creator: str, group: int, element: int, vr: str, value: Any
) -> Callable[[Dataset], None]:
    def add(ds: Dataset) -> None:
        ds.add_new((group << 16) + 0x10, "LO", creator)
        ds.add_new((group << 16) + 0x1000 + element, vr, value)

    return add


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (ge_component(1), ge_component(0), "component (magnitude, phase)"),
        (ge_component(2), ge_component(0), "component (magnitude, real)"),
        *(
            (b_value(*where, high), b_value(*where, low), "DiffusionBValue (50, 1000)")
            for where, high, low in (
                (("SIEMENS MR HEADER", 0x0019, 0x0C, "IS"), "1000", "50"),
                (("GEMS_PARM_01", 0x0043, 0x39, "IS"), ["1000001000", "8", "0"], ["1000000050", "8", "0"]),
                (("Philips Imaging DD 001", 0x2001, 0x03, "FL"), 1000.0, 50.0),
            )
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("implicit", [False, True])
def test_what_only_private_elements_say(
    tmp_path: Path, first: Any, second: Any, told: str, implicit: bool
) -> None:
    def edit(z: int, ds: Dataset) -> None:
        (first if ds.AcquisitionNumber == 1 else second)(ds)
        ds.AcquisitionNumber = 1

    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    phantoms.torso_ct(tmp_path, phases=2, edit=edit, transfer_syntax_uid=syntax, **MR)

    volume = volume_in(tmp_path)

    assert [frame.instance_number for frame in volume.frames] == [7, 8, 9, 10, 11, 12]
    assert told in volume.warnings[0]


@pytest.mark.parametrize(
    "label",
    [
        lambda percent: {"NominalPercentageOfCardiacPhase": float(percent)},
        lambda percent: {"ImageComments": f"Doe^Jane, cardiac {percent}%"},
        lambda percent: {"SeriesDescription": f"CorCTA 0.75 B26f {percent} %"},
        lambda percent: {"TriggerTime": 8.0 * percent},
    ],
)
def test_ten_cardiac_phases_by_percentage(tmp_path: Path, label: Any) -> None:
    # as text, 100 % comes before 20 %, and 5 % behind all
    percentages = [95, 85, 5, 75, 65, 55, 45, 35, 25, 100]
    edit = by_set(*(label(percent) for percent in percentages))
    phantoms.torso_ct(tmp_path, phases=10, edit=edit, shape=(4, 10, 12))

    volume = volume_in(tmp_path)

    assert [frame.instance_number for frame in volume.frames] == [9, 10, 11, 12]
    (warning,) = volume.warnings
    assert "10 volumes at one place" in warning
    assert "Doe" not in warning
    assert len(warning) < 300


def test_components_of_several_echoes(tmp_path: Path) -> None:
    sets = [
        {"ImageType": kind["ImageType"], "EchoNumbers": echo, "EchoTime": 5.0 * echo}
        for kind in SIEMENS
        for echo in (2, 1)
    ]
    phantoms.torso_ct(tmp_path, phases=8, edit=by_set(*sets), shuffle=4, **MR)

    volume = volume_in(tmp_path)

    sixth = {path for path in tmp_path.iterdir() if read_header(path).of_set["EchoNumbers"] == "1"}
    assert all(read_header(frame.path).image_type[2] == "M" for frame in volume.frames)
    assert {frame.path for frame in volume.frames} <= sixth
    assert "8 volumes" in volume.warnings[0]
    assert "(magnitude, EchoNumbers 1, instances" in volume.warnings[0]


def test_a_magnitude_that_lacks_a_slice_is_not_replaced_by_a_phase(tmp_path: Path) -> None:
    phantoms.torso_ct(tmp_path, phases=4, edit=by_set(*PHILIPS), **MR)
    (tmp_path / "torso-0015.dcm").unlink()

    with pytest.raises(NotAVolume) as caught:
        volume_in(tmp_path)

    sentence = str(caught.value)
    assert "4 sets of images at one place, told apart by component (magnitude, real" in sentence
    assert "(magnitude, instances 13, 14, 16-18) is no volume: 1 slice is missing" in sentence


def test_originals_are_used_without_their_reformats(tmp_path: Path) -> None:
    original = phantoms.torso_ct(tmp_path / "a", **SMALL)
    others: list[dict[str, Any]] = [{"orientation": "coronal"}, {"shape": (6, 20, 24)}]
    for n, other in enumerate(others):
        phantoms.torso_ct(
            tmp_path / f"b{n}",
            **SMALL | other,
            name=f"reformat{n}",
            image_type=("DERIVED", "SECONDARY", "REFORMATTED"),
            series_instance_uid=original.series_instance_uid,
        )

    volume = volume_in(tmp_path)

    assert {frame.path for frame in volume.frames} == set(original.paths)
    assert any(
        "differ in ORIGINAL or DERIVED and in size or direction" in text for text in volume.warnings
    )


def two_acquisitions(
    folder: Path,
    offset_mm: float,
    count: int = 6,
    first: Any = None,
    second: Any = None,
) -> Any:
    """Six slices of 5 mm, and `count` more of another acquisition `offset_mm` higher, in one
    series.
    """
    one = phantoms.torso_ct(
        folder / "a", edit=first or phantoms.setting(AcquisitionNumber=1), **SMALL
    )
    phantoms.torso_ct(
        folder / "b",
        **SMALL | {"shape": (count, 10, 12)},
        name="second",
        series_instance_uid=one.series_instance_uid,
        centre_mm=(0, 0, offset_mm + 2.5 * (count - 6)),
        edit=second or phantoms.setting(AcquisitionNumber=2),
    )
    for number, path in enumerate(sorted((folder / "b").iterdir()), start=101):
        phantoms.rewrite(path, InstanceNumber=number)
    return one


def one_after_the_other(start: int) -> Callable[[int, Dataset], None]:
    """Every slice at a time of its own."""

    def edit(z: int, ds: Dataset) -> None:
        ds.ContentTime = f"1011{start + z:02d}.500"
        ds.AcquisitionNumber = None

    return edit


@pytest.mark.parametrize(
    ("offset_mm", "count"), [(2.5, 6), (2.5, 3), (-2.5, 6), (1.5, 6), (0.12, 6), (2.5, 5)]
)
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}),
        ({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}),
        ({"AcquisitionTime": "101112.5"}, {"AcquisitionTime": "101212"}),
        ({"ContentTime": "101112"}, {"ContentTime": "101113"}),
        ({"EchoTime": 10}, {"EchoTime": 80}),
    ],
)
def test_two_acquisitions_are_not_woven_into_one(
    tmp_path: Path,
    offset_mm: float,
    count: int,
    first: dict[str, Any],
    second: dict[str, Any],
) -> None:
    edits = {"first": phantoms.setting(**first), "second": phantoms.setting(**second)}
    one = two_acquisitions(tmp_path, offset_mm, count, **edits)

    volume = volume_in(tmp_path)

    assert {frame.path for frame in volume.frames} == set(one.paths)
    assert f"told apart by {next(iter(first))}" in volume.warnings[0]


@pytest.mark.parametrize("thickness", [3.0, 8.0, None])
def test_slices_that_overlap_are_of_two_acquisitions_however_thick(
    tmp_path: Path, thickness: float | None
) -> None:
    first, second = (
        phantoms.setting(AcquisitionNumber=number, SliceThickness=thickness) for number in (1, 2)
    )
    one = two_acquisitions(tmp_path, 2.5, first=first, second=second)

    assert {frame.path for frame in volume_in(tmp_path).frames} == set(one.paths)


def test_two_acquisitions_whose_slices_all_have_their_own_time(tmp_path: Path) -> None:
    first, second = one_after_the_other(10), one_after_the_other(30)
    one = two_acquisitions(tmp_path, 2.5, first=first, second=second)

    volume = volume_in(tmp_path)

    assert {frame.path for frame in volume.frames} == set(one.paths)
    assert "told apart by ContentTime" in volume.warnings[0]


def test_the_same_region_twice_by_time_alone(tmp_path: Path) -> None:
    first, second = one_after_the_other(10), one_after_the_other(30)
    one = two_acquisitions(tmp_path, 0, first=first, second=second)

    assert {frame.path for frame in volume_in(tmp_path).frames} == set(one.paths)


def test_acquisitions_end_to_end_are_one(tmp_path: Path) -> None:
    two_acquisitions(tmp_path, 30.0)

    volume = volume_in(tmp_path)

    assert len(volume.frames) == 12
    assert volume.warnings == ()


@pytest.mark.parametrize("modality", ["MR", "CT"])
@pytest.mark.parametrize("thickness", [5.0, 4.0, None])
def test_one_interleaved_scan_stays_one(
    tmp_path: Path, modality: str, thickness: float | None
) -> None:
    def even_slices_first(z: int, ds: Dataset) -> None:
        ds.SliceThickness, ds.AcquisitionNumber = thickness, 1
        ds.AcquisitionTime = f"10111{z % 2}"
        ds.ContentTime = f"1011{z % 2}{z}"

    phantoms.torso_ct(tmp_path, edit=even_slices_first, **MR | {"modality": modality})

    volume = volume_in(tmp_path)

    assert len(volume.frames) == 6
    assert volume.warnings == ()


def test_overlapping_slices_of_one_acquisition_stay_one(tmp_path: Path) -> None:
    phantoms.torso_ct(
        tmp_path, edit=phantoms.setting(SliceThickness=10, AcquisitionTime="101112"), **SMALL
    )

    assert len(volume_in(tmp_path).frames) == 6


def test_slices_of_two_acquisitions_that_fill_each_others_gaps_are_said(tmp_path: Path) -> None:
    def edit(z: int, ds: Dataset) -> None:
        ds.AcquisitionNumber = 1 + z % 2

    phantoms.torso_ct(tmp_path, edit=edit, **SMALL)

    volume = volume_in(tmp_path)

    assert len(volume.frames) == 6
    assert "differ in AcquisitionNumber take turns" in volume.warnings[0]


@pytest.mark.parametrize("place", ["FrameType", "ComplexImageComponent"])
def test_components_of_an_enhanced_object(tmp_path: Path, place: str) -> None:
    def edit(z: int, ds: Dataset) -> None:
        for groups in ds.PerFrameFunctionalGroupsSequence:
            content, frame_type = groups.FrameContentSequence[0], Dataset()
            part = content.TemporalPositionIndex - 1
            content.TemporalPositionIndex = content.FrameAcquisitionNumber = 1
            frame_type.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
            if place == "FrameType":
                frame_type.FrameType = [*SIEMENS[part]["ImageType"]]
            else:
                frame_type.ComplexImageComponent = STATED[part]["ComplexImageComponent"]
            groups.MRImageFrameTypeSequence = [frame_type]

    phantoms.torso_ct(tmp_path, enhanced=True, phases=4, edit=edit, **SMALL)

    volume = volume_in(tmp_path)

    assert [frame.frame_number for frame in volume.frames] == [13, 14, 15, 16, 17, 18]
    assert "component (magnitude, real, imaginary, phase)" in volume.warnings[0]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("ORIGINAL\\PRIMARY\\M\\ND", "ORIGINAL\\PRIMARY\\P\\ND"),
        ("DERIVED\\PRIMARY\\M_FFE\\M", "ORIGINAL\\PRIMARY\\PHASE MAP\\P"),
        ("DERIVED\\PRIMARY\\DIXON\\WATER", "DERIVED\\PRIMARY\\DIXON\\FAT"),
    ],
)
def test_the_same_order_holds_between_series(tmp_path: Path, better: str, worse: str) -> None:
    wanted = phantoms.torso_ct(
        tmp_path / "a", name="better", series_number=9, image_type=better.split("\\"), **MR
    )
    phantoms.torso_ct(
        tmp_path / "b", name="worse", series_number=2, image_type=worse.split("\\"), **MR
    )

    assert choose_series(headers_in(tmp_path)).series_instance_uid == wanted.series_instance_uid


def test_a_phase_map_alone_is_said_to_be_one(tmp_path: Path) -> None:
    phantoms.torso_ct(tmp_path, image_type=("ORIGINAL", "PRIMARY", "P", "ND"), **MR)

    assert (
        "holds phase, real or imaginary images" in choose_series(headers_in(tmp_path)).warnings[0]
    )


def test_the_grey_values_are_those_of_the_set_that_was_taken(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, phases=4, edit=by_set(*PHILIPS), shuffle=3, **MR)

    assert np.array_equal(volume_in(tmp_path).intensities, phantom.hu + 30)


def test_what_is_said_of_a_value_is_short_and_on_one_line(tmp_path: Path) -> None:
    sets = ({"ConvolutionKernel": "B30" + "x" * 13}, {"ConvolutionKernel": ["B40" + "y" * 12] * 5})
    phantoms.torso_ct(tmp_path, phases=2, edit=by_set(*sets), **SMALL)

    (warning,) = volume_in(tmp_path).warnings

    assert warning.isprintable()
    assert len(warning) < 250
