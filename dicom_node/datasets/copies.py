"""Whether two files hold the same instance: compared by content, not by encoding."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from dicom_node.datasets.dataset_files import read_dataset
from dicom_node.errors import NotAVolume
from dicom_node.reading_errors import parsing, quietly

if TYPE_CHECKING:
    from hashlib import _Hash

_FILE_META, _GROUP_LENGTH, _TRAILING_PADDING = 0x0002, 0x0000, 0xFFFC_FFFC
# Text is padded with a space or a zero, as the writer likes (PS3.5 6.2)
_TEXT = frozenset(
    {
        "AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM",
        "UC", "UI", "UR", "UT",
    }
)  # fmt: skip


def same_contents(paths: list[Path]) -> bool:
    """Whether these files hold equal data sets, byte for byte or value for value.

    Preamble, file meta information, group lengths, trailing padding, and explicit or implicit VR
    make no difference. NotAVolume for a file that cannot be read.
    """
    if len({_file_digest(path) for path in paths}) == 1:
        return True
    with quietly():
        return len({_dataset_digest(path) for path in paths}) == 1


def _file_digest(path: Path) -> bytes:
    with parsing(NotAVolume, "A file of the series cannot be read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _dataset_digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with parsing(NotAVolume, "A file of the series cannot be read"):
        _add(digest, read_dataset(path, pixels=True))
    return digest.digest()


def _add(digest: _Hash, dataset: Dataset) -> None:
    """Every element's tag and value, sequences item by item."""
    for tag in sorted(dataset.keys()):
        if tag.group == _FILE_META or tag.element == _GROUP_LENGTH or tag == _TRAILING_PADDING:
            continue
        raw = dataset.get_item(tag)
        vr = _vr(tag, raw.VR if raw is not None else None)
        digest.update(int(tag).to_bytes(4, "big"))
        if vr == "SQ":
            items = dataset[tag].value or []
            digest.update(len(items).to_bytes(8, "big"))
            for item in items:
                _add(digest, item)
            continue
        # pydicom has decoded Specific Character Set by itself
        value = raw.value if isinstance(raw, RawDataElement) else str(dataset[tag].value).encode()
        value = bytes(value or b"")
        value = value.rstrip(b" \0") if vr in _TEXT else value
        digest.update(len(value).to_bytes(8, "big") + value)


def _vr(tag: BaseTag, written_vr: str | None) -> str:
    """The VR of the dictionary, since implicit VR writes none; of a private element as written."""
    return dictionary_VR(tag) if dictionary_has_tag(tag) else written_vr or "UN"
