"""Headers are read whatever is wrong with them, and what is wrong is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG4HP41,
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from dicom_node.errors import UnreadableDataset
from dicom_node.routable_keywords import ROUTABLE_KEYWORDS
from dicom_node.series.header import read_header


@pytest.fixture
def write(tmp_path: Path, as_sent: Callable[..., bytes]) -> Callable[..., Path]:
    """Writes a data set to a file, with or without file meta information."""

    def to_file(
        dataset: Dataset, syntax: str = ExplicitVRLittleEndian, *, meta: bool = True
    ) -> Path:
        path = tmp_path / "instance.dcm"
        if not meta:
            path.write_bytes(as_sent(dataset, syntax))
            return path
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
        dataset.save_as(path)
        return path

    return to_file


@pytest.fixture
def plane(ct: Callable[..., Dataset]) -> Dataset:
    """A CT slice with everything that sorting needs."""
    return ct(
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        SeriesNumber=4,
        SeriesDescription="Abdomen 3.0",
        FrameOfReferenceUID="1.2.3",
        ImagePositionPatient=[-250.5, -100, 12.25],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[0.7, 0.8],
        SliceThickness=3,
        AcquisitionNumber=2,
        TemporalPositionIdentifier=5,
        GantryDetectorTilt=-18.5,
        Manufacturer="ACME",
        BodyPartExamined="ABDOMEN",
    )


def test_a_slice_is_described(plane: Dataset, write: Callable[..., Path]) -> None:
    header = read_header(path := write(plane))

    assert header.path == path
    assert header.study_instance_uid == plane.StudyInstanceUID
    assert header.series_instance_uid == plane.SeriesInstanceUID
    assert header.sop_instance_uid == plane.SOPInstanceUID
    assert header.sop_class_uid == CTImageStorage
    assert header.transfer_syntax_uid == ExplicitVRLittleEndian
    assert header.modality == "CT"
    assert header.image_type == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert (header.instance_number, header.series_number) == (1, 4)
    assert header.series_description == "Abdomen 3.0"
    assert header.frame_of_reference_uid == "1.2.3"
    assert (header.rows, header.columns, header.number_of_frames) == (16, 16, 1)
    assert header.image_position_mm == (-250.5, -100.0, 12.25)
    assert header.image_orientation == (1, 0, 0, 0, 1, 0)
    assert header.pixel_spacing_mm == (0.7, 0.8)
    assert header.slice_thickness_mm == 3
    assert header.acquisition_number == 2
    assert header.temporal_position == 5
    assert header.gantry_tilt_deg == -18.5
    assert header.manufacturer == "ACME"
    assert header.faults == ()


def test_rules_get_text_and_no_patient(plane: Dataset, write: Callable[..., Path]) -> None:
    attributes = read_header(write(plane)).attributes

    assert attributes["Modality"] == "CT"
    assert attributes["BodyPartExamined"] == "ABDOMEN"
    assert attributes["ImageType"] == "ORIGINAL\\PRIMARY\\AXIAL"
    assert attributes["SliceThickness"] == "3.0"
    assert "StudyDescription" not in attributes
    assert not {"PatientName", "PatientID", "PatientBirthDate"} & set(ROUTABLE_KEYWORDS)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_a_file_without_file_meta_is_read(
    plane: Dataset, write: Callable[..., Path], syntax: str
) -> None:
    header = read_header(write(plane, syntax, meta=False))

    assert header.study_instance_uid == plane.StudyInstanceUID
    assert header.image_position_mm == (-250.5, -100.0, 12.25)
    assert header.transfer_syntax_uid == syntax


def test_empty_and_missing_values_are_no_fault(
    ct: Callable[..., Dataset], write: Callable[..., Path]
) -> None:
    header = read_header(
        write(ct(StudyInstanceUID="", SeriesInstanceUID="", InstanceNumber="", SliceThickness=""))
    )

    assert (header.study_instance_uid, header.series_instance_uid) == ("", "")
    assert header.instance_number is None
    assert header.slice_thickness_mm is None
    assert header.image_position_mm is None
    assert header.faults == ()


def test_sop_uids_are_found_in_the_file_meta_when_the_data_set_has_none(
    ct: Callable[..., Dataset], write: Callable[..., Path]
) -> None:
    header = read_header(write(ct(SOPClassUID=None, SOPInstanceUID=None)))

    assert (header.sop_class_uid, header.sop_instance_uid) == (CTImageStorage, "1.2.3.4")


@pytest.mark.filterwarnings("ignore")  # pydicom warns of what this test writes on purpose
@pytest.mark.parametrize(
    ("tag", "vr", "value", "fault"),
    [
        (0x00200013, "LO", "number seven", "InstanceNumber"),
        (0x00180050, "LO", "thick", "SliceThickness"),
        (0x00180050, "LO", "NaN", "SliceThickness"),
        (0x00200032, "LO", "1\\2", "ImagePositionPatient"),
        (0x00200032, "LO", "1\\2\\inf", "ImagePositionPatient"),
        (0x00200037, "OB", b"\0\1\2\3", "ImageOrientationPatient"),
        (0x00280030, "LO", "0.7", "PixelSpacing"),
        (0x00280010, "LO", "many", "Rows"),
        (0x00280008, "LO", "0x8", "NumberOfFrames"),
    ],
)
def test_a_value_that_cannot_be_read_is_left_out_and_named(
    plane: Dataset, write: Callable[..., Path], tag: int, vr: str, value: Any, fault: str
) -> None:
    if tag in plane:
        del plane[tag]
    plane.add_new(tag, vr, value)

    header = read_header(write(plane))

    assert header.faults == (fault,)
    assert header.series_instance_uid == plane.SeriesInstanceUID


INTEGERS = {
    0x00200011: "SeriesNumber",
    0x00200012: "AcquisitionNumber",
    0x00200013: "InstanceNumber",
    0x00200100: "TemporalPositionIdentifier",
    0x00280008: "NumberOfFrames",
}


@pytest.mark.filterwarnings("ignore")  # pydicom warns of what this test writes on purpose
@pytest.mark.parametrize(("tag", "keyword"), INTEGERS.items())
@pytest.mark.parametrize(
    "text",
    ["456115117112105110101", "2147483648", "-2147483649", "1" + "0" * 30, "1e400", "1.5", "1_000"],
)
def test_an_integer_that_is_none_of_32_bits_is_no_value(
    plane: Dataset, write: Callable[..., Path], tag: int, keyword: str, text: str
) -> None:
    if tag in plane:
        del plane[tag]
    plane.add_new(tag, "LO", text)

    header = read_header(write(plane))

    numbers = {
        0x00200011: header.series_number,
        0x00200012: header.acquisition_number,
        0x00200013: header.instance_number,
        0x00200100: header.temporal_position,
        0x00280008: None if header.number_of_frames == 1 else header.number_of_frames,
    }
    assert numbers[tag] is None
    assert header.faults == (keyword,)
    assert keyword not in header.attributes
    assert header.reason == ""


@pytest.mark.parametrize("text", ["2147483647", "-2147483648", "0", "+7", "12.0"])
def test_an_integer_of_32_bits_is_read(
    plane: Dataset, write: Callable[..., Path], text: str
) -> None:
    del plane.SeriesNumber
    plane.add_new(0x00200011, "LO", text)

    assert read_header(write(plane)).series_number == int(float(text))


@pytest.mark.parametrize(
    ("syntax", "pixels", "stated", "read"),
    [
        (ExplicitVRLittleEndian, bytes(512), "2", 1),
        (ExplicitVRLittleEndian, bytes(512), "2000000000", 1),
        (ExplicitVRLittleEndian, bytes(1024), "2", 2),
        (ImplicitVRLittleEndian, bytes(1024), "3", 1),
        (JPEG2000Lossless, encapsulate([b"ab", b"cd"]), "2", 2),
        (JPEG2000Lossless, encapsulate([b"ab", b"cd"]), "3", 1),
        (MPEG4HP41, encapsulate([bytes(100)]), "50", 50),  # a stream is one fragment
        (MPEG4HP41, encapsulate([bytes(100)]), "2000000000", 1),
        (ExplicitVRLittleEndian, None, "2", 1),
    ],
)
def test_number_of_frames_is_held_against_the_bytes(
    plane: Dataset,
    write: Callable[..., Path],
    syntax: str,
    pixels: bytes | None,
    stated: str,
    read: int,
) -> None:
    plane.NumberOfFrames = stated
    if pixels is None:
        del plane.PixelData
    else:
        plane.PixelData = pixels
        plane["PixelData"].is_undefined_length = syntax in (JPEG2000Lossless, MPEG4HP41)

    header = read_header(write(plane, syntax))

    assert header.number_of_frames == read
    if read == 1:
        assert header.faults == ("NumberOfFrames",)
        assert f"Number of Frames is {stated}, but the pixel data" in header.reason


@pytest.mark.filterwarnings("ignore")  # pydicom warns of what this test writes on purpose
def test_every_text_is_bounded(plane: Dataset, write: Callable[..., Path]) -> None:
    plane.SpecificCharacterSet = "ISO_IR 100"
    for keyword in ("SeriesDescription", "Modality", "Manufacturer", "ImageComments", "ImageType"):
        if keyword in plane:
            del plane[keyword]
        plane.add_new(keyword, "UT", "é" * 100_000)

    header = read_header(write(plane))

    texts = [header.series_description, header.modality, header.manufacturer, *header.image_type]
    assert max(map(len, [*texts, *header.attributes.values()])) <= 1_024


@pytest.mark.filterwarnings("ignore")  # pydicom warns of what this test writes on purpose
@pytest.mark.parametrize("uid", ["1" * 8_000, "1.2\n3", "../x", "1.2 3"])
def test_what_is_no_uid_is_none(plane: Dataset, write: Callable[..., Path], uid: str) -> None:
    plane.FrameOfReferenceUID = uid

    header = read_header(write(plane))

    assert (header.frame_of_reference_uid, header.faults) == ("", ("FrameOfReferenceUID",))


@pytest.mark.filterwarnings("ignore")  # pydicom warns of what this test writes on purpose
@pytest.mark.parametrize(
    ("character_set", "text"),
    [
        ("ISO_IR 100", "Schädel nativ"),
        ("ISO_IR 192", "腹部 造影"),
        (["", "ISO 2022 IR 87"], "腹部"),
        ("ISO_IR 144", "Голова"),
    ],
)
def test_text_in_other_scripts(
    plane: Dataset, write: Callable[..., Path], character_set: Any, text: str
) -> None:
    plane.SpecificCharacterSet = character_set
    plane.SeriesDescription = text

    header = read_header(write(plane))

    assert header.series_description == text
    assert header.attributes["SeriesDescription"] == text


@pytest.mark.parametrize("character_set", [b"ISO_IR 999", b"", b"\xff\xfe", b"UTF8"])
def test_an_unknown_character_set_never_stops_reading(
    plane: Dataset,
    write: Callable[..., Path],
    as_sent: Callable[..., bytes],
    character_set: bytes,
) -> None:
    plane.SpecificCharacterSet = "ISO_IR 100"
    plane.SeriesDescription = "Schädel"
    path = write(plane, meta=False)
    written = path.read_bytes()
    path.write_bytes(written.replace(b"ISO_IR 100", character_set.ljust(10)))

    header = read_header(path)

    assert header.image_position_mm == (-250.5, -100.0, 12.25)
    assert header.series_description.startswith("Sch")


def enhanced(ct: Callable[..., Dataset], *, shared: bool) -> Dataset:
    """Three frames with position each, and orientation and spacing shared or in each frame."""

    def item(**elements: Any) -> Dataset:
        made = Dataset()
        for keyword, value in elements.items():
            setattr(made, keyword, value)
        return made

    def plane_macros() -> dict[str, Any]:
        return {
            "PlaneOrientationSequence": Sequence(
                [item(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])]
            ),
            "PixelMeasuresSequence": Sequence([item(PixelSpacing=[0.5, 0.6], SliceThickness=2)]),
        }

    positions = [
        item(
            PlanePositionSequence=Sequence([item(ImagePositionPatient=[0, 0, 2 * z])]),
            **({} if shared else plane_macros()),
        )
        for z in range(3)
    ]
    return ct(
        SOPClassUID=EnhancedCTImageStorage,
        NumberOfFrames=3,
        PixelData=bytes(3 * 16 * 16 * 2),
        SharedFunctionalGroupsSequence=Sequence([item(**(plane_macros() if shared else {}))]),
        PerFrameFunctionalGroupsSequence=Sequence(positions),
    )


@pytest.mark.parametrize("shared", [True, False])
def test_a_multi_frame_object_gives_what_its_frames_share(
    ct: Callable[..., Dataset], write: Callable[..., Path], shared: bool
) -> None:
    header = read_header(write(enhanced(ct, shared=shared)))

    assert header.number_of_frames == 3
    assert header.image_orientation == (1, 0, 0, 0, 0, -1)
    assert header.pixel_spacing_mm == (0.5, 0.6)
    assert header.slice_thickness_mm == 2
    assert header.image_position_mm is None
    assert header.faults == ()


def test_an_empty_functional_group_is_no_fault(
    ct: Callable[..., Dataset], write: Callable[..., Path]
) -> None:
    dataset = ct(
        NumberOfFrames=2, PixelData=bytes(1024), SharedFunctionalGroupsSequence=Sequence([])
    )

    header = read_header(write(dataset))

    assert (header.number_of_frames, header.faults) == (2, ())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"not DICOM at all",
        bytes(1000),
        b"\x89PNG\r\n\x1a\n" + bytes(500),
        b"\xff" * 500,
    ],
    ids=lambda content: content[:4].hex() or "empty",
)
def test_a_file_that_is_no_dicom_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scan.dcm"
    path.write_bytes(content)

    with pytest.raises(UnreadableDataset, match=r"scan\.dcm"):
        read_header(path)


def test_a_file_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "nothing.dcm")


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example writes its own file
)
@given(at=st.integers(0, 900), junk=st.binary(min_size=1, max_size=16))
def test_a_damaged_header_is_read_or_refused(
    plane: Dataset, write: Callable[..., Path], at: int, junk: bytes
) -> None:
    path = write(plane)
    content = path.read_bytes()
    path.write_bytes(content[:at] + junk + content[at + len(junk) :])

    try:
        header = read_header(path)
    except UnreadableDataset:
        return
    assert header.path == path


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.binary(max_size=300), preamble=st.booleans())
def test_any_file_is_read_or_refused(tmp_path: Path, content: bytes, preamble: bool) -> None:
    path = tmp_path / "any.dcm"
    path.write_bytes((bytes(128) + b"DICM") * preamble + content)

    try:
        read_header(path)
    except UnreadableDataset:
        return


def test_every_real_odd_file_but_the_shifted_one_is_read(shared_data: Path) -> None:
    refused = []
    paths = [path for path in (shared_data / "odd_dicom").rglob("*") if path.is_file()]
    for path in paths:
        try:
            read_header(path)
        except UnreadableDataset:
            refused.append(path.name)

    assert len(paths) == 46
    assert refused == ["no_meta.dcm"]  # its first byte is a blank that shifts all the rest


def test_the_originals_of_the_sample_have_empty_uids_and_are_read(shared_data: Path) -> None:
    for path in (shared_data / "ct_dicom_totalseg" / "original_empty_uids").iterdir():
        header = read_header(path)
        assert (header.study_instance_uid, header.series_instance_uid) == ("", "")
        assert (header.modality, header.rows) == ("CT", 512)
