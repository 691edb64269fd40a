"""The four UIDs an instance is filed under, read from its bytes before the peer is answered.

The walk (dicom_node.elements) is bounded and goes to the end of the top level: an element that says
who or what the instance is, and comes again with another value behind the pixels, makes the data
set faulty wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass

from dicom_node.elements import Elements, elements_of
from dicom_node.errors import FaultyDataset, UnreadableDataset

SOP_CLASS, SOP_INSTANCE, STUDY, SERIES = 0x0008_0016, 0x0008_0018, 0x0020_000D, 0x0020_000E

# What a PACS files by: two values of one of these are two instances, two studies or two patients in
# one
IDENTIFYING: dict[int, str] = {
    SOP_CLASS: "SOP Class UID",
    SOP_INSTANCE: "SOP Instance UID",
    0x0010_0010: "Patient's Name",
    0x0010_0020: "Patient ID",
    STUDY: "Study Instance UID",
    SERIES: "Series Instance UID",
}
FILED_UNDER = (STUDY, SERIES)

# Letters are against PS3.5 9.1, but some de-identifiers write hexadecimal UIDs and such an instance
# can be kept all the same. What matters here: no separator, no leading dot, none of the signs that
# the inbox puts into names.
_UID = re.compile(r"[0-9A-Za-z][0-9A-Za-z.]{0,63}")


@dataclass(frozen=True)
class DatasetUids:
    """The UIDs of a data set, without padding; empty where the data set has none."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str


def is_uid(text: str) -> bool:
    """Whether `text` can be filed under: 1 to 64 ASCII digits, letters and dots, no dot first."""
    return _UID.fullmatch(text) is not None


def dataset_uids(dataset: bytes | memoryview, transfer_syntax_uid: str) -> DatasetUids:
    """Read the UIDs from a data set encoded in a transfer syntax.

    A peer that says explicit and means implicit VR, or the other way round, is understood. Raises
    UnreadableDataset when no encoding gives a study and a series UID, FaultyDataset when the data
    set names two of what there is one of.
    """
    elements = identified(dataset, transfer_syntax_uid, IDENTIFYING)
    uids = DatasetUids(
        *(uid_text(elements, tag) for tag in (SOP_CLASS, SOP_INSTANCE, STUDY, SERIES))
    )
    for tag in FILED_UNDER:
        if not is_uid(uid_text(elements, tag)):
            raise UnreadableDataset(f"the data set has no usable {IDENTIFYING[tag]}")
    return uids


def identified(
    dataset: bytes | memoryview, transfer_syntax_uid: str, tags: Container[int]
) -> Elements:
    """The elements `tags` of a data set; FaultyDataset unless it is one instance of one patient."""
    elements = elements_of(dataset, transfer_syntax_uid, tags, FILED_UNDER)
    for tag, name in IDENTIFYING.items():
        if tag in elements.ambiguous:
            raise FaultyDataset(f"the data set has two values of {name} {tag_text(tag)}")
    return elements


def tag_text(tag: int) -> str:
    """A tag as the standard prints it, such as "(0020,000E)"."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def uid_text(elements: Elements, tag: int) -> str:
    """A UID's text without its padding, empty where there is none.

    A value that is no UID gives a text that `is_uid` refuses.
    """
    element = elements.first.get(tag)
    return "" if element is None else element.value[:66].rstrip(b"\0 ").decode("ascii", "replace")
