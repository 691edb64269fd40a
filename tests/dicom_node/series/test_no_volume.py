"""What is no volume is refused with a sentence that names the instances, says what was found and
what to do.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from dicom_node.errors import NotAVolume, UndecodablePixels
from dicom_node.series.choice import choose_series
from dicom_node.series.header import read_header
from dicom_node.values import InstanceHeader
from dicom_node.volume.volume import load_volume
from tests.support import phantoms

SMALL: dict[str, Any] = {"shape": (6, 10, 12), "spacing_mm": (5.0, 20.0, 18.0)}


def refusal(folder: Path, kind: Any = NotAVolume) -> str:
    """The sentence with which the files of a folder are refused."""
    with pytest.raises(kind) as caught:
        load_volume([read_header(path) for path in sorted(folder.rglob("*.dcm"))])
    return str(caught.value)


def test_no_images() -> None:
    with pytest.raises(NotAVolume, match="no images"):
        load_volume([])


@pytest.mark.parametrize(
    ("series", "said"),
    [
        ({"skip": (2, 3)}, ["2 slices are missing", "15.00 mm between instance 2 and instance 3"]),
        ({"skip": (4,)}, ["1 slice is missing", "10.00 mm between instance 4 and instance 5"]),
        ({"skip": (1, 4)}, ["2 slices are missing", "instance 1 and instance 2", "5.00 mm apart"]),
        ({"moved_mm": {3: 1.5}}, ["unevenly spaced", "3.50 to 6.50 mm", "instance 3 and"]),
        ({"repeat": (2,)}, ["one position", "instances 3, 4"]),
        ({"repeat": range(6)}, ["one position", "instances 1-12"]),
        ({"tilt_deg": 12.0}, ["gantry was tilted", "12.0 degrees", "instances 1-6"]),
        ({"tilt_deg": -3.0}, ["gantry was tilted", "3.0 degrees"]),
        ({"skip": range(1, 6)}, ["only one slice", "instance 1", "whole series"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("orientation", ["axial", "oblique"])
def test_stacks_that_are_none(
    tmp_path: Path, orientation: str, series: Any, said: list[str]
) -> None:
    phantoms.torso_ct(tmp_path, orientation=orientation, **SMALL, **series)

    sentence = refusal(tmp_path)

    assert all(words in sentence for words in said), sentence


def test_uneven_steps_that_grow_slowly(tmp_path: Path) -> None:
    drifting = {z: 0.03 * z * z for z in range(20)}  # each step within tolerance, the sum not
    phantoms.torso_ct(tmp_path, shape=(20, 10, 12), spacing_mm=(5, 20, 18), moved_mm=drifting)

    assert "unevenly spaced" in refusal(tmp_path)


def test_tilt_that_only_the_header_knows(tmp_path: Path) -> None:
    phantoms.torso_ct(tmp_path, edit=phantoms.setting(GantryDetectorTilt=-15.0), **SMALL)

    assert "Gantry/Detector Tilt of instances 1-6 is 15.0 degrees" in refusal(tmp_path)


def test_tilt_in_the_header_of_a_straight_reformat_is_history(tmp_path: Path) -> None:
    edit = phantoms.setting(GantryDetectorTilt=-15.0)
    kind = ("DERIVED", "SECONDARY", "REFORMATTED")
    phantom = phantoms.torso_ct(tmp_path, edit=edit, image_type=kind, **SMALL)

    volume = load_volume([read_header(path) for path in phantom.paths])

    assert "15.0 degrees" in volume.warnings[0]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"shape": (4, 16, 12)}, ["2 matrices", "10x12", "16x12"]),
        ({"spacing_mm": (5.0, 19.0, 18.0)}, ["2 pixel spacings", "20x18 mm", "19x18 mm"]),
        ({"orientation": "coronal"}, ["2 orientations"]),
        ({"orientation": "negated_columns"}, ["2 orientations"]),
        ({"centre_mm": (0, 0, 1.3)}, ["unevenly spaced"]),
        ({"centre_mm": (40.0, 0, 30.0)}, ["sideways"]),
        ({}, ["one position"]),
    ],
)
def test_two_series_under_one_uid(tmp_path: Path, other: Any, said: list[str]) -> None:
    first = phantoms.torso_ct(tmp_path / "a", **SMALL)
    second = SMALL | {"name": "other", "series_instance_uid": first.series_instance_uid} | other
    phantoms.torso_ct(tmp_path / "b", **second)
    for number, path in enumerate(sorted((tmp_path / "b").iterdir()), start=101):
        phantoms.rewrite(path, InstanceNumber=number)

    sentence = refusal(tmp_path)

    assert all(words in sentence for words in said), sentence
    assert "101" in sentence


def test_a_localizer_that_does_not_say_so(tmp_path: Path) -> None:
    few: dict[str, Any] = {"shape": (3, 10, 12), "spacing_mm": (10.0, 20.0, 18.0), "modality": "MR"}
    first = phantoms.torso_ct(tmp_path / "axial", **few)
    for name in ("coronal", "sagittal"):
        others: dict[str, Any] = {"name": name, "orientation": name}
        uid = first.series_instance_uid
        phantoms.torso_ct(tmp_path / name, series_instance_uid=uid, **others, **few)

    assert "is a localizer: its slices run in 3 directions, a few in each" in refusal(tmp_path)


def test_interleaved_halves_are_no_phases(tmp_path: Path) -> None:
    def interleave(z: int, ds: Dataset) -> None:
        ds.AcquisitionNumber = 1 + z % 2

    phantoms.torso_ct(tmp_path, shape=(9, 10, 12), skip=(3,), edit=interleave)

    assert "1 slice is missing" in refusal(tmp_path)


def test_two_frames_of_reference(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    for path in phantom.paths[4:]:
        phantoms.rewrite(path, FrameOfReferenceUID="1.2.3.4")

    sentence = refusal(tmp_path)

    assert "2 frames of reference" in sentence
    assert "1.2.3.4 in instances 5, 6" in sentence


@pytest.mark.parametrize(
    ("keyword", "name"),
    [
        ("ImagePositionPatient", "Image Position (Patient)"),
        ("ImageOrientationPatient", "Image Orientation (Patient)"),
        ("PixelSpacing", "Pixel Spacing"),
        ("FrameOfReferenceUID", "Frame of Reference UID"),
    ],
)
def test_geometry_that_is_not_there(tmp_path: Path, keyword: str, name: str) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    for path in phantom.paths[1:3]:
        phantoms.rewrite(path, **{keyword: None})

    sentence = refusal(tmp_path)

    assert sentence.startswith(f"{name} is missing")
    assert "instances 2, 3" in sentence


@pytest.mark.parametrize(
    "values",
    [
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
        {"ImageOrientationPatient": [2, 0, 0, 0, 2, 0]},
        {"PixelSpacing": [0, 0]},
        {"PixelSpacing": [-1, 1]},
    ],
)
def test_geometry_that_cannot_be(tmp_path: Path, values: Any) -> None:
    phantoms.torso_ct(tmp_path, edit=phantoms.setting(**values), **SMALL)

    assert "instances 1-6" in refusal(tmp_path)


def test_frames_without_a_position(tmp_path: Path) -> None:
    def edit(z: int, ds: Dataset) -> None:
        del ds.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence

    phantoms.torso_ct(tmp_path, enhanced=True, edit=edit, **SMALL)

    assert "frame 4 of instance 1" in refusal(tmp_path)


def test_one_uid_with_two_contents(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    (tmp_path / "copy.dcm").write_bytes(phantom.paths[2].read_bytes())
    phantoms.rewrite(tmp_path / "copy.dcm", ImagePositionPatient=[0, 0, 900])

    sentence = refusal(tmp_path)

    assert "instance 3" in sentence
    assert "same SOP Instance UID" in sentence


def test_results_are_no_slices(tmp_path: Path) -> None:
    path = phantoms.secondary_capture(tmp_path)

    assert "Secondary Capture Image" in refusal(path.parent)


def test_images_of_two_series(tmp_path: Path) -> None:
    phantoms.torso_ct(tmp_path / "a", **SMALL)
    phantoms.torso_ct(tmp_path / "b", name="other", **SMALL)

    assert "images of 2 series" in refusal(tmp_path)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless, JPEGLSLossless]
)
def test_pixel_data_that_breaks_off(tmp_path: Path, syntax: UID) -> None:
    phantom = phantoms.torso_ct(tmp_path, shape=(6, 40, 48), transfer_syntax_uid=syntax)
    for path in (phantom.paths[1], phantom.paths[4]):
        path.write_bytes(path.read_bytes()[:-900])

    sentence = refusal(tmp_path, UndecodablePixels)

    assert "instances 2, 5" in sentence
    assert "Send the series again" in sentence


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_frames_that_break_off_inside(tmp_path: Path, syntax: UID) -> None:
    phantom = phantoms.torso_ct(tmp_path, shape=(6, 40, 48), transfer_syntax_uid=syntax)
    for path in phantom.paths[2:4]:  # the RLE codec panics here, which is no Exception in Python
        ds = pydicom.dcmread(path)
        (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
        ds.PixelData = encapsulate([frame[: len(frame) // 6 * 2]])
        ds.save_as(path)

    assert "instances 3, 4 is damaged" in refusal(tmp_path, UndecodablePixels)


def test_pixel_data_that_is_short_but_whole(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    phantoms.rewrite(phantom.paths[0], PixelData=bytes(100))

    sentence = refusal(tmp_path, UndecodablePixels)

    assert "100 of 240 bytes" in sentence
    assert "instance 1" in sentence


def test_no_pixel_data_at_all(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    phantoms.rewrite(phantom.paths[5], PixelData=None)

    assert "instance 6" in refusal(tmp_path, UndecodablePixels)


def test_a_frame_of_an_enhanced_object_is_missing(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, enhanced=True, **SMALL)
    phantoms.rewrite(phantom.paths[0], PixelData=bytes(5 * 240))

    sentence = refusal(tmp_path, NotAVolume)

    assert "Number of Frames is 6, but the pixel data holds at most 5 (instance 1)" in sentence


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55", "1.2.3.4"])
def test_a_syntax_that_nobody_decodes_is_named(tmp_path: Path, uid: str) -> None:
    phantom = phantoms.torso_ct(tmp_path, transfer_syntax_uid=RLELossless, **SMALL)
    for path in phantom.paths[2:4]:
        ds = pydicom.dcmread(path)
        ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(uid)
        ds.save_as(path)

    sentence = refusal(tmp_path, UndecodablePixels)

    assert uid in sentence
    assert "instances 3, 4" in sentence
    assert "JPEG-LS" in sentence  # what to send instead


def test_bytes_that_are_not_of_their_syntax(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, transfer_syntax_uid=RLELossless, **SMALL)
    ds = pydicom.dcmread(phantom.paths[0])
    ds.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    ds.save_as(phantom.paths[0])

    assert "instance 1" in refusal(tmp_path, UndecodablePixels)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"RescaleSlope": 0}, "Rescale Slope of instances 1-6 is 0"),
        ({"HighBit": 14, "BitsStored": 12}, "High Bit of instances 1-6 is 14 with 12 Bits Stored"),
        ({"SamplesPerPixel": 3, "PlanarConfiguration": 0}, "Samples per Pixel"),
    ],
)
def test_pixels_that_make_no_intensities(tmp_path: Path, values: Any, said: str) -> None:
    phantoms.torso_ct(tmp_path, edit=phantoms.setting(**values), **SMALL)

    assert said in refusal(tmp_path)


def test_a_file_that_went_away(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    headers = [read_header(path) for path in phantom.paths]
    phantom.paths[3].unlink()

    with pytest.raises(UndecodablePixels, match="instance 4"):
        load_volume(headers)


def test_messages_do_not_name_the_patient(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, skip=(2,), **SMALL)
    for path in phantom.paths:
        phantoms.rewrite(
            path, InstanceNumber=None, SOPInstanceUID=generate_uid(entropy_srcs=[path.name])
        )

    assert "Phantom" not in refusal(tmp_path)


@pytest.mark.parametrize("stated", [2, 2_000_000_000])
def test_frames_that_the_pixels_cannot_hold(tmp_path: Path, stated: int) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    phantoms.rewrite(phantom.paths[0], NumberOfFrames=stated)

    sentence = refusal(tmp_path)

    assert f"Number of Frames is {stated}, but the pixel data holds at most 1" in sentence
    assert "instance 1" in sentence


def test_a_series_of_which_an_instance_cannot_be_read(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    headers = [read_header(path) for path in phantom.paths]
    headers[2] = InstanceHeader(
        path=headers[2].path,
        study_instance_uid=headers[2].study_instance_uid,
        series_instance_uid=headers[2].series_instance_uid,
        sop_instance_uid="1.2.3",
        sop_class_uid=headers[2].sop_class_uid,
        transfer_syntax_uid="",
        faults=("the whole data set",),
        reason="reading it takes too much memory",
    )

    headers[4] = replace(headers[4], reason="Number of Frames is 9, but the pixel data is missing")

    for attempt in (load_volume, choose_series):
        with pytest.raises(NotAVolume) as caught:
            attempt(headers)
        assert str(caught.value) == (
            "Reading it takes too much memory (an instance without a number (1.2.3)); "
            "Number of Frames is 9, but the pixel data is missing (instance 5): "
            "export the series again, or without these."
        )
