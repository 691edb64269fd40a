"""What is offered first, and that bits are always the last resort."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.errors import ResultMismatch
from dicom_node.result_kinds import SegmentationEncoding
from dicom_node.results import labelmap
from dicom_node.results.labelmap import LABELMAP_STORAGE
from dicom_node.send import offered_encoding
from dicom_node.send.offered_encoding import OfferedEncoding
from dicom_node.values import ResultKind, WrittenResult

SEG = WrittenResult(ResultKind.SEG, Path("seg.dcm"), "1", "2", "3")
SR = WrittenResult(ResultKind.SR, Path("sr.dcm"), "4", "5", "6")
RLE = OfferedEncoding("pacs", SegmentationEncoding.LABELMAP_RLE)
BINARY = OfferedEncoding("pacs", SegmentationEncoding.BINARY)


def test_nothing_is_offered_where_bits_are_meant_or_no_segmentation_goes() -> None:
    assert BINARY.contexts([ResultKind.SEG]) == []
    assert RLE.contexts([ResultKind.SR]) == []
    assert RLE.contexts([ResultKind.SEG, ResultKind.SR]) == [
        (LABELMAP_STORAGE, "1.2.840.10008.1.2.5")
    ]


@pytest.mark.parametrize(
    ("made", "taken", "how"),
    [
        (True, True, "as labelmap_rle"),
        (True, False, "as binary: it takes no Label Map Segmentation as RLE Lossless"),
        (False, False, "as binary: no label map says the same"),
    ],
)
def test_how_it_went_is_said(made: bool, taken: bool, how: str) -> None:
    assert RLE.how([SEG, SR], made=made, taken=taken) == how
    assert RLE.how([SR], made=made, taken=taken) == ""
    assert BINARY.how([SEG, SR], made=made, taken=taken) == ""


def test_a_label_map_that_reads_back_otherwise_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def mismatched(*_: object) -> None:
        raise ResultMismatch("it has other voxels")

    monkeypatch.setattr(offered_encoding, labelmap.as_labelmap.__name__, mismatched)

    assert RLE.labelmaps([SEG, SR], tmp_path) == ()
