"""What is received, indexed and decoded is read by one walk: no bytes make the UIDs mean one thing
here and another there.
"""

from __future__ import annotations

import mmap
import random
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.datasets.dataset_files import read_dataset
from dicom_node.elements import EXPLICIT_LITTLE, UNDEFINED, walk
from dicom_node.errors import FaultyDataset, UnreadableDataset
from dicom_node.receive.dataset_uids import dataset_uids
from dicom_node.receive.part10 import FileMeta, encode_head, read_meta
from dicom_node.series.header import read_header
from dicom_node.sources import InMemory
from dicom_node.values import InstanceHeader

STUDY, SERIES, INSTANCE = "1.2.3", "1.2.3.4", "1.2.3.4.5"
LONG = {"OB", "OW", "SQ", "UN", "UT"}
Parts = dict[str, bytes]


def explicit(tag: int, vr: str, value: bytes | str, length: int | None = None) -> bytes:
    """An element in explicit VR little endian; `length` where it is to lie."""
    data = value.encode("latin-1") if isinstance(value, str) else value
    data += (b"\0" if vr in ("UI", "OB") else b" ") * (len(data) % 2)
    said = len(data) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + struct.pack("<HL" if vr in LONG else "<H", *([0] * (vr in LONG)), said) + data


def implicit(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def item(content: bytes, *, undefined: bool = False) -> bytes:
    if not undefined:
        return struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content
    begin, end = (0xFFFE, 0xE000, UNDEFINED), (0xFFFE, 0xE00D, 0)
    return struct.pack("<HHL", *begin) + content + struct.pack("<HHL", *end)


SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def parts() -> Parts:
    """A sound CT slice, in the groups it consists of."""
    return {
        "0008": explicit(0x00080016, "UI", CTImageStorage)
        + explicit(0x00080018, "UI", INSTANCE)
        + explicit(0x00080060, "CS", "CT"),
        "0010": explicit(0x00100010, "PN", "Doe^Jane") + explicit(0x00100020, "LO", "ID1"),
        "0020": explicit(0x0020000D, "UI", STUDY)
        + explicit(0x0020000E, "UI", SERIES)
        + explicit(0x00200013, "IS", "7"),
        "0028": b"".join(
            explicit(tag, "US", struct.pack("<H", value))
            for tag, value in ((0x00280010, 4), (0x00280011, 4), (0x00280100, 16))
        ),
        "7FE0": explicit(0x7FE00010, "OW", bytes(32)),
    }


def slice_with(extra: bytes, *, before: str = "") -> bytes:
    """The slice with more in front of one of its groups, or at its end."""
    joined = b"".join(extra + data if group == before else data for group, data in parts().items())
    return joined if before else joined + extra


@pytest.fixture
def header_of(tmp_path: Path) -> Callable[..., InstanceHeader]:
    """The header of a data set's bytes in a file such as the inbox writes."""

    def read(dataset: bytes, syntax: str = ExplicitVRLittleEndian) -> InstanceHeader:
        path = tmp_path / "instance.dcm"
        path.write_bytes(encode_head(FileMeta(CTImageStorage, INSTANCE, syntax, "00")) + dataset)
        return read_header(path)

    return read


def assert_found(
    header_of: Callable[..., InstanceHeader], dataset: bytes, syntax: str = ExplicitVRLittleEndian
) -> InstanceHeader:
    """Both readers give the UIDs of the slice."""
    head = dataset_uids(dataset, syntax)
    assert (head.study_instance_uid, head.series_instance_uid) == (STUDY, SERIES)
    header = header_of(dataset, syntax)
    assert (header.study_instance_uid, header.series_instance_uid) == (STUDY, SERIES)
    assert header.sop_instance_uid == INSTANCE
    return header


SECOND = [
    (explicit(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.4"), "SOP Class UID"),
    (explicit(0x00080018, "UI", "9.9"), "SOP Instance UID"),
    (explicit(0x00100010, "PN", "Roe^Richard"), "Patient's Name"),
    (explicit(0x00100020, "LO", "ID2"), "Patient ID"),
    (explicit(0x0020000D, "UI", "9.9"), "Study Instance UID"),
    (explicit(0x0020000E, "UI", "/tmp/elsewhere"), "Series Instance UID"),
    (explicit(0x0020000E, "UI", "1" * 8000), "Series Instance UID"),
    (explicit(0x0020000E, "UI", b"1.2\x003.4"), "Series Instance UID"),
]


@pytest.mark.parametrize(("second", "name"), SECOND)
@pytest.mark.parametrize("before", ["0008", "0020", "7FE0", ""])
def test_a_second_identity_makes_a_data_set_faulty_wherever_it_stands(
    header_of: Callable[..., InstanceHeader], second: bytes, name: str, before: str
) -> None:
    dataset = slice_with(second, before=before)

    with pytest.raises(FaultyDataset, match=f"two values of {name}"):
        dataset_uids(dataset, ExplicitVRLittleEndian)
    with pytest.raises(FaultyDataset, match=f"two values of {name}"):
        header_of(dataset)


def test_a_second_identity_in_a_deflated_data_set_is_found_behind_whatever_is_long(
    header_of: Callable[..., InstanceHeader],
) -> None:
    second = explicit(0x00290010, "OB", bytes(20 << 20)) + explicit(0x0020000E, "UI", "9.9")
    packed = deflated(slice_with(second, before="7FE0"))

    with pytest.raises(FaultyDataset, match="Series Instance UID"):
        dataset_uids(packed, DeflatedExplicitVRLittleEndian)
    with pytest.raises(FaultyDataset, match="Series Instance UID"):
        header_of(packed, DeflatedExplicitVRLittleEndian)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_an_error_on_its_way_holds_no_mapped_file_open(tmp_path: Path, syntax: str) -> None:
    dataset = explicit(0x00080005, "CS", "ISO_IR 100") + bytes(2 << 20)  # ends within the walk
    path = tmp_path / "spooled"
    path.write_bytes(deflated(dataset) if syntax == DeflatedExplicitVRLittleEndian else dataset)

    with (
        pytest.raises(FaultyDataset),
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped,
        memoryview(mapped) as whole,
        whole[0:] as view,
    ):
        dataset_uids(view, syntax)


def test_the_same_value_again_is_no_fault(header_of: Callable[..., InstanceHeader]) -> None:
    again = explicit(0x0020000E, "UI", SERIES) + explicit(0x00100020, "LO", "ID1   ")

    assert_found(header_of, slice_with(again, before="7FE0"))


def test_any_other_attribute_that_comes_twice_and_differs_has_no_value(
    header_of: Callable[..., InstanceHeader], tmp_path: Path
) -> None:
    twice = explicit(0x00200013, "IS", "8") + explicit(0x00280010, "US", struct.pack("<H", 4))

    header = assert_found(header_of, slice_with(twice))

    assert (header.instance_number, header.rows) == (None, 4)
    assert header.faults == ("InstanceNumber",)
    dataset = read_dataset(tmp_path / "instance.dcm")
    assert ("InstanceNumber" in dataset, dataset.Rows) == (False, 4)


def test_identities_in_items_are_those_of_other_instances(
    header_of: Callable[..., InstanceHeader],
) -> None:
    other = explicit(0x0020000D, "UI", "9.9") + explicit(0x00100020, "LO", "ID2")
    sequences = b"".join(
        explicit(
            tag,
            "SQ",
            item(other, undefined=undefined) + SEQUENCE_END * (length == UNDEFINED),
            length,
        )
        for tag in (0x00081115, 0x00400275)
        for undefined in (True, False)
        for length in (None, UNDEFINED)
    )  # fmt: skip

    assert_found(header_of, slice_with(sequences, before="0010"))
    assert_found(header_of, slice_with(sequences))


def test_groups_out_of_order(header_of: Callable[..., InstanceHeader]) -> None:
    groups = parts()
    shuffled = b"".join(groups[name] for name in ("0028", "0020", "7FE0", "0010", "0008"))

    assert assert_found(header_of, shuffled).rows == 4


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_behind_thirty_thousand_elements(
    header_of: Callable[..., InstanceHeader], syntax: str
) -> None:
    reference = item(explicit(0x00081155, "UI", "9.9"), undefined=True)
    many = explicit(0x00081115, "SQ", reference * 30_000 + SEQUENCE_END, UNDEFINED)
    many += b"".join(explicit(0x00090000 | n, "LO", "x") for n in range(0x1000, 0x3000))
    dataset = slice_with(many, before="0010")

    started = time.perf_counter()
    assert_found(header_of, deflated(dataset) if "1.99" in syntax else dataset, syntax)
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    "odd",
    [
        # a VR to come has four bytes of length behind two reserved ones; some write it as if it
        # were an old one
        struct.pack("<HH2sHL", 0x0009, 0x1001, b"ZZ", 0, 6) + b"abcdef",
        struct.pack("<HH2sHL", 0x0009, 0x1001, b"ZZ", 0, 0),
        struct.pack("<HH2sH", 0x0009, 0x1001, b"ZZ", 6) + b"abcdef",
        struct.pack("<HH2sH", 0x0009, 0x1001, b"ZZ", 0),
        struct.pack("<HH2sH", 0x0009, 0x1001, b"??", 6) + b"abcdef",
        struct.pack("<HH2sH", 0x0009, 0x1001, b"\0\0", 6) + b"abcdef",
        struct.pack("<HHL", 0x0009, 0x1001, 6) + b"abcdef",  # implicit among explicit ones
        struct.pack("<HH2sHL", 0x0009, 0x1001, b"ZZ", 0, UNDEFINED) + item(b"") + SEQUENCE_END,
    ],
    ids=lambda odd: odd[4:12].hex(),
)
def test_behind_an_unknown_vr(header_of: Callable[..., InstanceHeader], odd: bytes) -> None:
    assert_found(header_of, slice_with(odd, before="0010"))


@pytest.mark.parametrize(
    "inside", [explicit(0x00081155, "UI", "9.9"), implicit(0x00081155, b"9.9\0")]
)
def test_behind_an_unknown_sequence_in_either_vr(
    header_of: Callable[..., InstanceHeader], inside: bytes
) -> None:
    unknown = explicit(0x00091001, "UN", item(inside, undefined=True) + SEQUENCE_END, UNDEFINED)

    assert_found(header_of, slice_with(unknown, before="0010"))


@pytest.mark.parametrize("depth", [200, 5_000])
def test_behind_deep_nesting(header_of: Callable[..., InstanceHeader], depth: int) -> None:
    begin = explicit(0x00400100, "SQ", b"", UNDEFINED) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, UNDEFINED
    )
    end = struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + SEQUENCE_END

    assert_found(header_of, slice_with(begin * depth + end * depth, before="0010"))


def test_every_element_as_unknown(header_of: Callable[..., InstanceHeader]) -> None:
    unknown = [
        explicit(tag, "UN", value)
        for tag, value in (
            (0x00080016, CTImageStorage + "\0"),
            (0x00080018, INSTANCE + "\0"),
            (0x0020000D, STUDY + "\0"),
            (0x0020000E, SERIES + "\0"),
            (0x00200013, "7 "),
            (0x00280010, b"\4\0"),
        )
    ]

    header = assert_found(header_of, b"".join(unknown))

    assert (header.instance_number, header.rows, header.faults) == (7, 4, ())


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_file_meta_information_within_a_data_set_means_nothing(
    header_of: Callable[..., InstanceHeader], tmp_path: Path, syntax: str
) -> None:
    meta = (
        explicit(0x00020000, "UL", struct.pack("<L", 200))
        + explicit(0x00020002, "UI", "1.2.840.10008.5.1.4.1.1.4")
        + explicit(0x00020003, "UI", "9.9")
        + explicit(0x00020010, "UI", "1.2.840.10008.1.2.4.50")
        + explicit(0x00020102, "OB", b"f" * 32)
    )
    dataset = slice_with(b"")
    if syntax == ImplicitVRLittleEndian:
        dataset = implicit(0x00080018, INSTANCE.encode() + b"\0") + implicit(0x0020000D, b"1.2.3\0")
        dataset += implicit(0x0020000E, b"1.2.3.4\0")

    header = assert_found(header_of, meta + dataset, syntax)

    assert (header.transfer_syntax_uid, header.sop_class_uid) == (syntax, CTImageStorage)
    assert read_meta(tmp_path / "instance.dcm").sha256 == "00"
    assert read_dataset(tmp_path / "instance.dcm").file_meta.TransferSyntaxUID == syntax


def deflated(dataset: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(dataset) + packer.flush()


def bomb(megabytes: int) -> bytes:
    """A slice with one private value of so many zeros, deflated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(
        slice_with(b"")[: -len(parts()["7FE0"])] + explicit(0x00290010, "OB", b"", megabytes << 20)
    )
    packed += b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes))
    return packed + packer.flush()


def test_what_inflates_beyond_every_image_is_refused(
    header_of: Callable[..., InstanceHeader],
) -> None:
    packed = bomb(300)
    assert len(packed) < 1 << 20

    for read in (dataset_uids, header_of):
        with pytest.raises(FaultyDataset, match="larger than 256 MB when inflated"):
            read(packed, DeflatedExplicitVRLittleEndian)


def test_a_sound_deflated_slice_is_read_with_its_pixels(
    header_of: Callable[..., InstanceHeader], tmp_path: Path
) -> None:
    assert_found(header_of, deflated(slice_with(b"")), DeflatedExplicitVRLittleEndian)

    dataset = read_dataset(tmp_path / "instance.dcm", pixels=True)
    assert dataset.PixelData == bytes(32)


def test_more_elements_than_any_image_has_are_refused() -> None:
    data = explicit(0x00090010, "LO", "") * 101

    with pytest.raises(FaultyDataset, match="more than 4,000,000 elements"):
        walk(InMemory(data), EXPLICIT_LITTLE, (), most_elements=100)
    assert walk(InMemory(data[8:]), EXPLICIT_LITTLE, (), most_elements=101).walked == 100


@pytest.mark.parametrize("packed", [True, False])
def test_a_long_run_of_odd_elements_is_given_up_early(packed: bool) -> None:
    data = explicit(0x00080005, "CS", "ISO_IR 100") + bytes(2 << 20)

    with pytest.raises(FaultyDataset, match="more than 100,000 elements of no known VR"):
        dataset_uids(
            deflated(data) if packed else data,
            DeflatedExplicitVRLittleEndian if packed else ExplicitVRLittleEndian,
        )


def test_levels_without_an_end_end_the_walk(header_of: Callable[..., InstanceHeader]) -> None:
    assert_found(header_of, slice_with(b"\xff" * (1 << 20)))


@pytest.mark.parametrize("character_set", [b"ISO\0IR\0100", b"\0\0", b"\xff\xfe", b"ISO_IR 999"])
@pytest.mark.filterwarnings("ignore")  # pydicom warns of what this test writes on purpose
def test_a_character_set_that_is_none_stops_nothing(
    header_of: Callable[..., InstanceHeader], tmp_path: Path, character_set: bytes
) -> None:
    assert_found(header_of, slice_with(explicit(0x00080005, "CS", character_set), before="0010"))

    assert read_dataset(tmp_path / "instance.dcm").PatientName == "Doe^Jane"


@pytest.mark.parametrize("promised", [40, 1 << 30, UNDEFINED - 1])
def test_a_uid_that_the_end_cuts_off_is_none(promised: int) -> None:
    groups = parts()
    cut = explicit(0x0020000E, "UN", SERIES, promised)

    with pytest.raises(UnreadableDataset, match="Series Instance UID"):
        dataset_uids(
            groups["0008"] + explicit(0x0020000D, "UI", STUDY) + cut, ExplicitVRLittleEndian
        )


@pytest.mark.parametrize("promised", [34, 1 << 30, UNDEFINED])
def test_pixels_that_are_promised_and_not_there(
    header_of: Callable[..., InstanceHeader], promised: int
) -> None:
    groups = parts()
    groups["7FE0"] = explicit(0x7FE00010, "OW", bytes(32), promised)

    assert assert_found(header_of, b"".join(groups.values())).faults == ()


def test_a_uid_of_a_file_that_is_none_names_nothing(
    header_of: Callable[..., InstanceHeader],
) -> None:
    groups = parts()
    groups["0020"] = explicit(0x0020000D, "UI", STUDY) + explicit(0x0020000E, "UI", "../../etc")

    with pytest.raises(FaultyDataset, match="Series Instance UID is no UID"):
        header_of(b"".join(groups.values()))


def test_damage_anywhere_gives_uids_or_a_sentence(
    header_of: Callable[..., InstanceHeader],
) -> None:
    chance = random.Random(7)
    whole = slice_with(
        explicit(0x00081115, "SQ", item(b"", undefined=True) + SEQUENCE_END, UNDEFINED)
    )
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(damaged))
            damaged[at : at + chance.randrange(3)] = chance.choice(
                [b"", b"\xff\xff\xff\xff", chance.randbytes(3), whole[at : at + 40], b"\0\0"]
            )
        data = bytes(damaged)
        try:
            head = dataset_uids(data, ExplicitVRLittleEndian)
        except UnreadableDataset:
            continue
        if not {head.sop_class_uid, head.sop_instance_uid} <= {"", CTImageStorage, INSTANCE}:
            continue  # the inbox refuses it: it is not what its request says
        header = header_of(data)
        assert header.study_instance_uid == head.study_instance_uid
        assert header.series_instance_uid == head.series_instance_uid
