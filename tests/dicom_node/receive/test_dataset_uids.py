"""The UIDs are found in every encoding, and no bytes can hurt the dataset_uids."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from dicom_node.errors import UnreadableDataset
from dicom_node.receive.dataset_uids import DatasetUids, dataset_uids, is_uid

SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
]


def head_of(dataset: Dataset) -> DatasetUids:
    return DatasetUids(
        dataset.SOPClassUID,
        dataset.SOPInstanceUID,
        dataset.StudyInstanceUID,
        dataset.SeriesInstanceUID,
    )


def nested(depth: int, *, undefined: bool) -> Sequence:
    """A sequence in a sequence in a sequence, before the UIDs that count, with decoys of them
    inside.
    """
    item = Dataset()
    item.SOPInstanceUID = "9.9"
    item.StudyInstanceUID = "9.9.9"
    item.SeriesInstanceUID = "9.9.9.9"
    if depth > 1:
        item.ReferencedSeriesSequence = nested(depth - 1, undefined=undefined)
        item["ReferencedSeriesSequence"].is_undefined_length = undefined
    item.is_undefined_length_sequence_item = undefined
    return Sequence([item])


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_uids_are_found(
    ct: Callable[..., Dataset], as_sent: Callable[..., bytes], syntax: str
) -> None:
    dataset = ct()

    assert dataset_uids(as_sent(dataset, syntax), syntax) == head_of(dataset)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [True, False])
def test_uids_inside_sequences_are_not_taken_for_the_data_sets_own(
    ct: Callable[..., Dataset], as_sent: Callable[..., bytes], syntax: str, undefined: bool
) -> None:
    dataset = ct(ReferencedStudySequence=nested(5, undefined=undefined))
    dataset["ReferencedStudySequence"].is_undefined_length = undefined

    assert dataset_uids(as_sent(dataset, syntax), syntax) == head_of(dataset)


def test_an_unknown_sequence_of_undefined_length_is_implicit_inside(
    ct: Callable[..., Dataset], as_sent: Callable[..., bytes]
) -> None:
    dataset = ct()
    # in explicit VR these length bytes would be the VR "AA"
    inside = struct.pack("<HHL", 0x0009, 0x1002, 0x4141) + bytes(0x4141)
    unknown = (
        struct.pack("<HH2sHL", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF)
        + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
        + inside
        + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
        + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    )
    whole = as_sent(dataset)
    cut = whole.index(struct.pack("<HH", 0x0010, 0x0010))  # Patient's Name comes next

    assert dataset_uids(whole[:cut] + unknown + whole[cut:], ExplicitVRLittleEndian) == head_of(
        dataset
    )


@pytest.mark.parametrize(
    ("declared", "true"),
    [
        (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
        (ImplicitVRLittleEndian, ExplicitVRLittleEndian),
    ],
)
def test_a_peer_that_means_the_other_vr_encoding_is_understood(
    ct: Callable[..., Dataset], as_sent: Callable[..., bytes], declared: str, true: str
) -> None:
    dataset = ct()

    assert dataset_uids(as_sent(dataset, true), declared) == head_of(dataset)


def test_what_comes_after_the_series_is_not_read(
    ct: Callable[..., Dataset], as_sent: Callable[..., bytes]
) -> None:
    dataset = ct()
    whole = as_sent(dataset)
    end = whole.index(dataset.SeriesInstanceUID.encode()) + len(dataset.SeriesInstanceUID) + 1

    assert dataset_uids(whole[:end] + b"\xff" * 5000, ExplicitVRLittleEndian) == head_of(dataset)


def test_a_big_deflated_data_set_is_inflated_no_further_than_needed(
    ct: Callable[..., Dataset], as_sent: Callable[..., bytes]
) -> None:
    bomb = as_sent(ct(PixelData=bytes(64 << 20)), DeflatedExplicitVRLittleEndian)

    head = dataset_uids(bomb, DeflatedExplicitVRLittleEndian)

    assert is_uid(head.series_instance_uid)


def test_a_header_longer_than_the_first_inflated_step_is_followed(
    ct: Callable[..., Dataset], as_sent: Callable[..., bytes]
) -> None:
    dataset = ct()
    dataset.add_new(0x00091001, "OB", bytes(200_000))
    sent = as_sent(dataset, DeflatedExplicitVRLittleEndian)

    assert dataset_uids(sent, DeflatedExplicitVRLittleEndian) == head_of(dataset)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", [None, "", "..", "../../etc", "1.2 3", "9" * 65])
@pytest.mark.filterwarnings("ignore")  # pydicom warns of what this test writes on purpose
def test_a_data_set_that_cannot_be_filed_is_unreadable(
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
    keyword: str,
    value: str | None,
) -> None:
    sent = as_sent(ct(**{keyword: value}))

    with pytest.raises(UnreadableDataset, match="Instance UID"):
        dataset_uids(sent, ExplicitVRLittleEndian)


def test_missing_sop_uids_are_empty(
    ct: Callable[..., Dataset], as_sent: Callable[..., bytes]
) -> None:
    head = dataset_uids(as_sent(ct(SOPClassUID=None, SOPInstanceUID=None)), ExplicitVRLittleEndian)

    assert (head.sop_class_uid, head.sop_instance_uid) == ("", "")


def test_the_originals_of_the_sample_with_empty_uids_are_unreadable(shared_data: Path) -> None:
    for path in (shared_data / "ct_dicom_totalseg" / "original_empty_uids").iterdir():
        dataset = path.read_bytes()
        body = dataset[dataset.index(struct.pack("<HH2s", 0x0008, 0x0005, b"CS")) :]
        with pytest.raises(UnreadableDataset, match="Study Instance UID"):
            dataset_uids(body, JPEG2000Lossless)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0" * 100_000,
        b"\xff" * 100_000,
        b"\x08\x00\x16\x00UI",
        b"\x08\x00\x16\x00OB\0\0",
        b"GET / HTTP/1.1\r\nHost: segnode\r\n\r\n",
        struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) * 10_000,  # ever deeper
        struct.pack("<HH2sH", 0x0008, 0x0005, b"CS", 0) * 1_000_000,  # never further
        struct.pack("<HHL", 0xFFFE, 0xE00D, 0) * 1_000,
        zlib.compress(b"\0" * 1000),
    ],
    ids=lambda data: f"{len(data)} bytes",
)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_hostile_bytes_are_unreadable_and_no_worse(data: bytes, syntax: str) -> None:
    with pytest.raises(UnreadableDataset):
        dataset_uids(data, syntax)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=400), syntax=st.sampled_from(SYNTAXES))
def test_any_bytes_give_uids_or_unreadable(data: bytes, syntax: str) -> None:
    try:
        head = dataset_uids(data, syntax)
    except UnreadableDataset:
        return
    assert is_uid(head.study_instance_uid)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the builders keep nothing
)
@given(at=st.integers(0, 300), junk=st.binary(max_size=12), syntax=st.sampled_from(SYNTAXES))
def test_a_damaged_head_gives_uids_or_unreadable(
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
    at: int,
    junk: bytes,
    syntax: str,
) -> None:
    whole = as_sent(ct(ReferencedStudySequence=nested(3, undefined=True)), syntax)
    try:
        head = dataset_uids(whole[:at] + junk + whole[at + len(junk) :], syntax)
    except UnreadableDataset:
        return
    assert is_uid(head.series_instance_uid)


@pytest.mark.filterwarnings("ignore")  # of odd values, in the reference reader
def test_real_odd_files_give_what_pydicom_reads(shared_data: Path) -> None:
    read = 0
    for path in sorted((shared_data / "odd_dicom").rglob("*.dcm")):
        content = path.read_bytes()
        if content[128:132] != b"DICM":
            continue
        reference = dcmread(path, stop_before_pixels=True)
        wanted = [
            str(reference.get(keyword, ""))
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        ]
        if not (wanted[0] and wanted[1]):
            continue
        length = struct.unpack_from("<L", content, 140)[0]
        head = dataset_uids(content[144 + length :], reference.file_meta.TransferSyntaxUID)
        found = [head.study_instance_uid, head.series_instance_uid, head.sop_instance_uid]
        assert found == wanted, path.name
        read += 1

    assert read > 30


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        ("1.2.840.10008.1.2", True),
        ("2.25." + "9" * 39, True),
        ("1" * 64, True),
        ("1" * 65, False),
        ("", False),
        (".", False),
        ("..", False),
        ("../1", False),
        ("1/2", False),
        ("1.2\n", False),
        ("05fa52f0e599f17b8186ff18fcdf2b55", True),  # seen in the wild
        ("1.2.conflict-3", False),
        (".hidden", False),
        ("１.２", False),  # digits, but not ASCII
    ],
)
def test_what_can_be_filed_under(text: str, usable: bool) -> None:
    assert is_uid(text) is usable
