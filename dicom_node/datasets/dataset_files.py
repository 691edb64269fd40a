"""Files that hold a data set, ours or anybody's: the one way to open them after they arrived.

The walk (dicom_node.elements) decides which elements a data set has; pydicom decodes their values
and never looks for elements at the top level itself, because two readers of one file may disagree
on whose it is.
"""

from __future__ import annotations

import mmap
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.elements import Element, ElementEncoding, Elements, Everything
from dicom_node.errors import UnreadableDataset
from dicom_node.receive.dataset_uids import identified
from dicom_node.receive.part10 import MOST_META_BYTES, meta_elements, meta_text

_KNOWN_VRS = frozenset(
    [
        "AE",
        "AS",
        "AT",
        "CS",
        "DA",
        "DS",
        "DT",
        "FD",
        "FL",
        "IS",
        "LO",
        "LT",
        "OB",
        "OD",
        "OF",
        "OL",
        "OV",
        "OW",
        "PN",
        "SH",
        "SL",
        "SQ",
        "SS",
        "ST",
        "SV",
        "TM",
        "UC",
        "UI",
        "UL",
        "UN",
        "UR",
        "US",
        "UT",
        "UV",
    ]
)


@dataclass(frozen=True)
class WalkedFile:
    """A file's `elements`, and its file meta information; texts are empty where it has none.

    `transfer_syntax_uid` is as stated.
    """

    elements: Elements
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    has_meta: bool


def walk_file(path: Path, tags: Container[int]) -> WalkedFile:
    """The elements `tags` of a DICOM file, with or without file meta information.

    FaultyDataset for a data set of two patients, studies or instances; OSError as the disk gives
    it.
    """
    with path.open("rb") as file:
        size_bytes = file.seek(0, 2)
        if not size_bytes:
            raise UnreadableDataset(f"{path.name} is empty")
        # closed with its last view, not here: the walk's views go first
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    values, begin = meta_elements(content[:MOST_META_BYTES])
    syntax = meta_text(values, 0x0010)
    return WalkedFile(
        elements=identified(memoryview(content)[min(begin, size_bytes) :], syntax, tags),
        transfer_syntax_uid=syntax,
        sop_class_uid=meta_text(values, 0x0002),
        sop_instance_uid=meta_text(values, 0x0003),
        has_meta=bool(values),
    )


def read_dataset(path: Path, *, pixels: bool = False) -> Dataset:
    """A file's data set for pydicom to decode, with its `pixels` or without.

    Its file meta has the transfer syntax. Attributes that occur twice and differ are left out. It
    raises what walk_file raises.
    """
    file = walk_file(path, Everything(pixels=pixels))
    elements = file.elements
    raw: dict[BaseTag, DataElement | RawDataElement] = {
        BaseTag(tag): _raw(tag, element)
        for tag, element in elements.first.items()
        if tag not in elements.ambiguous
    }
    dataset = Dataset(raw)
    encoding = elements.encoding
    dataset.set_original_encoding(
        not encoding.explicit, encoding.order == "<", _character_sets(dataset)
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(file.transfer_syntax_uid or guessed_syntax(encoding))
    return dataset


def _character_sets(dataset: Dataset) -> list[str]:
    """The character sets of a data set for pydicom.

    The attribute is deleted where pydicom cannot handle it.
    """
    try:
        return list(convert_encodings(dataset.get("SpecificCharacterSet")))
    except (LookupError, ValueError, TypeError):
        del dataset.SpecificCharacterSet
        return list(convert_encodings(None))


def guessed_syntax(encoding: ElementEncoding) -> str:
    """The uncompressed transfer syntax of a data set that does not say which it is in."""
    if not encoding.explicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if encoding.order == "<" else ExplicitVRBigEndian)


def _raw(tag: int, element: Element) -> RawDataElement:
    """An element as pydicom takes it from its own reader."""
    vr: str | None = element.vr.decode("ascii", "replace") or None
    if vr is not None and vr not in _KNOWN_VRS:
        vr = "UN"
    little = element.encoding.order == "<"
    implicit = vr is None or not element.encoding.explicit
    # as pydicom's own reader gives an empty value
    value = element.value or (b"" if empty_value_for_VR(vr, raw=True) == b"" else None)
    return RawDataElement(BaseTag(tag), vr, element.length, value, 0, implicit, little)
