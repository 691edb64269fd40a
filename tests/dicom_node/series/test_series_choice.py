"""Which series of a study is taken, and what is said of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import NotAVolume, NoUsableSeries
from dicom_node.series.choice import choose_series
from dicom_node.series.header import read_header
from dicom_node.values import InstanceHeader
from tests.support import phantoms

SMALL: dict[str, Any] = {"shape": (6, 10, 12), "spacing_mm": (5.0, 20.0, 18.0)}
REFORMAT = ("DERIVED", "SECONDARY", "REFORMATTED")


def headers_in(folder: Path) -> list[InstanceHeader]:
    return [read_header(path) for path in sorted(folder.rglob("*.dcm"))]


def test_the_original_axial_ct_among_everything_a_study_holds(tmp_path: Path) -> None:
    phantoms.scout(tmp_path / "scout")
    phantoms.secondary_capture(tmp_path / "capture")
    axial = phantoms.torso_ct(tmp_path / "axial", **SMALL)
    phantoms.torso_ct(
        tmp_path / "coronal",
        orientation="coronal",
        image_type=REFORMAT,
        name="coronal",
        shape=(20, 10, 12),
        spacing_mm=(5, 20, 18),
    )
    phantoms.torso_ct(tmp_path / "mr", modality="MR", name="mr", **SMALL)

    choice = choose_series(headers_in(tmp_path))

    assert choice.series_instance_uid == axial.series_instance_uid
    assert {header.path for header in choice.headers} == set(axial.paths)
    assert choice.warnings == ()
    assert "series 2 (CT, 6 images), original, axial, 6 slices" in choice.explanation


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({}, {"image_type": REFORMAT, "shape": (12, 10, 12)}),
        ({}, {"orientation": "sagittal", "shape": (12, 10, 12)}),
        ({"image_type": REFORMAT}, {"image_type": REFORMAT, "orientation": "coronal"}),
        ({"orientation": "sagittal"}, {"image_type": REFORMAT, "orientation": "axial"}),
        ({"shape": (12, 10, 12), "spacing_mm": (2.5, 20, 18)}, {}),
        ({}, {"phases": 3, "shape": (5, 10, 12)}),
        ({}, {"modality": "MR", "shape": (12, 10, 12)}),
        ({"orientation": "oblique"}, {"orientation": "coronal"}),
    ],
)
@pytest.mark.parametrize("first", ["better", "worse"])
def test_what_is_preferred(tmp_path: Path, better: Any, worse: Any, first: str) -> None:
    names = {"better": "a", "worse": "b"} if first == "better" else {"better": "b", "worse": "a"}
    wanted = phantoms.torso_ct(tmp_path / names["better"], name="better", **{**SMALL, **better})
    phantoms.torso_ct(tmp_path / names["worse"], name="worse", **{**SMALL, **worse})

    choice = choose_series(headers_in(tmp_path))

    assert choice.series_instance_uid == wanted.series_instance_uid


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"ConvolutionKernel": "B30f"}, {"ConvolutionKernel": "B70f"}),
        ({"ConvolutionKernel": ["Br40d", "3"]}, {"ConvolutionKernel": ["Bl64d", "3"]}),
        ({"ConvolutionKernel": "STANDARD"}, {"ConvolutionKernel": "LUNG"}),
        ({"SliceThickness": 1}, {"SliceThickness": 5}),
        ({"ContrastBolusAgent": "Iomeprol"}, {}),
        ({"SeriesNumber": 1}, {"SeriesNumber": 2}),
    ],
)
def test_what_decides_among_equals(tmp_path: Path, better: Any, worse: Any) -> None:
    # all else equal, the lower number wins: here it belongs to the one that must lose
    low, high = (
        phantoms.setting(**{"SeriesNumber": 2, **worse}),
        phantoms.setting(**{"SeriesNumber": 9, **better}),
    )
    phantoms.torso_ct(tmp_path / "a", name="worse", edit=low, **SMALL)
    wanted = phantoms.torso_ct(tmp_path / "b", name="better", edit=high, **SMALL)

    choice = choose_series(headers_in(tmp_path))

    assert choice.series_instance_uid == wanted.series_instance_uid


def test_a_reformat_where_there_is_nothing_else_is_told(tmp_path: Path) -> None:
    phantoms.scout(tmp_path / "scout")
    phantoms.torso_ct(tmp_path / "a", orientation="coronal", image_type=REFORMAT, **SMALL)

    choice = choose_series(headers_in(tmp_path))

    assert "is derived" in choice.warnings[0]
    assert "is not axial" in choice.warnings[1]


def test_a_broken_original_gives_way_and_is_told(tmp_path: Path) -> None:
    phantoms.torso_ct(tmp_path / "a", skip=(2,), **SMALL)
    other = phantoms.torso_ct(tmp_path / "b", image_type=REFORMAT, name="reformat", **SMALL)

    choice = choose_series(headers_in(tmp_path))

    assert choice.series_instance_uid == other.series_instance_uid
    assert any("1 slice is missing" in warning for warning in choice.warnings)


def test_an_enhanced_object_is_a_series(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, enhanced=True, **SMALL)

    choice = choose_series(headers_in(tmp_path))

    assert [header.path for header in choice.headers] == list(phantom.paths)


def test_a_series_asked_for_is_taken_whatever_its_rank(tmp_path: Path) -> None:
    phantoms.torso_ct(tmp_path / "a", **SMALL)
    wanted = phantoms.torso_ct(
        tmp_path / "b", orientation="coronal", image_type=REFORMAT, name="coronal", **SMALL
    )

    choice = choose_series(headers_in(tmp_path), series_instance_uid=wanted.series_instance_uid)

    assert choice.series_instance_uid == wanted.series_instance_uid


def test_a_series_that_is_not_there(tmp_path: Path) -> None:
    phantoms.torso_ct(tmp_path, **SMALL)

    with pytest.raises(NoUsableSeries, match=r"1\.2\.3.*It holds: series 2 \(CT, 6 images\)"):
        choose_series(headers_in(tmp_path), series_instance_uid="1.2.3")


def test_captures_inside_a_series_are_left_out(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    capture = phantoms.secondary_capture(tmp_path)
    phantoms.rewrite(capture, SeriesInstanceUID=phantom.series_instance_uid, InstanceNumber=99)
    page = tmp_path / "page.dcm"
    page.write_bytes(phantom.paths[0].read_bytes())
    kind = ["DERIVED", "SECONDARY", "SCREEN SAVE"]
    phantoms.rewrite(page, ImageType=kind, SOPInstanceUID="1.2.3", InstanceNumber=100)

    choice = choose_series(headers_in(tmp_path))

    assert {header.path for header in choice.headers} == set(phantom.paths)
    assert "instances 99, 100 are no slices" in choice.warnings[0]


def test_an_empty_study() -> None:
    with pytest.raises(NoUsableSeries, match="holds no instances"):
        choose_series([])


def test_two_studies_at_once(tmp_path: Path) -> None:
    phantoms.torso_ct(tmp_path / "a", **SMALL)
    phantoms.torso_ct(tmp_path / "b", identity=phantoms.Identity(study="other"), **SMALL)

    with pytest.raises(NoUsableSeries, match="2 studies"):
        choose_series(headers_in(tmp_path))


def test_the_only_series_speaks_for_itself(tmp_path: Path) -> None:
    phantoms.torso_ct(tmp_path, tilt_deg=8, **SMALL)

    with pytest.raises(NotAVolume, match=r"^The gantry was tilted"):
        choose_series(headers_in(tmp_path))


def test_every_reason_is_told(tmp_path: Path) -> None:
    phantoms.scout(tmp_path / "scout")
    phantoms.secondary_capture(tmp_path / "capture")
    phantoms.torso_ct(tmp_path / "gap", skip=(3,), **SMALL)
    phantoms.torso_ct(tmp_path / "single", name="single", series_number=7, shape=(1, 10, 12))
    phantoms.torso_ct(
        tmp_path / "scouts",
        name="scouts",
        series_number=8,
        image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"),
        **SMALL,
    )

    with pytest.raises(NoUsableSeries) as caught:
        choose_series(headers_in(tmp_path))
    sentence = str(caught.value)

    assert sentence.startswith("Nothing in this study can be segmented: ")
    for words in (
        "series 1 (CT, 1 image) is a scout",
        "series 90 (CT, 1 image) holds no slices",
        "series 2 (CT, 5 images) is no volume: 1 slice is missing",
        "series 7 (CT, 1 image) holds a single slice (instance 1)",
        "series 8 (CT, 6 images) is a scout",
    ):
        assert words in sentence


def test_a_series_without_its_uid(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    for path in phantom.paths:
        phantoms.rewrite(path, SeriesInstanceUID="")

    with pytest.raises(NoUsableSeries, match="has no Series Instance UID"):
        choose_series(headers_in(tmp_path))


def test_what_is_said_names_no_patient(tmp_path: Path) -> None:
    phantoms.torso_ct(tmp_path / "a", **SMALL)
    phantoms.torso_ct(tmp_path / "b", name="Doe_Jane", **SMALL)

    choice = choose_series(headers_in(tmp_path))

    assert "Doe" not in choice.explanation
