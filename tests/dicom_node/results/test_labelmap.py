"""A BINARY SEG as a label map: the same voxels at their places, and a report about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from dicom_node.errors import ResultMismatch
from dicom_node.result_kinds import SegmentationEncoding
from dicom_node.results.labelmap import (
    LABELMAP_STORAGE,
    TRANSFER_SYNTAX,
    as_labelmap,
    check_labelmap,
)
from dicom_node.results.report import ReportWriter
from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.writers import write_results
from dicom_node.values import (
    Algorithm,
    ResultContent,
    ResultIdentity,
    ResultKind,
    ResultSegment,
    SourceVolume,
    WrittenResult,
)
from dicom_node.voxels import Voxels
from tests.support import phantoms

Write = Callable[..., tuple[WrittenResult, ...]]
LABELMAPS = [each for each in SegmentationEncoding if each is not SegmentationEncoding.BINARY]


class Source:
    """A volume, structures on it, and both results of them."""

    def __init__(self, volume: SourceVolume, segments: list[ResultSegment], folder: Path) -> None:
        self.volume, self.segments, self.folder = volume, segments, folder

    def results(self, algorithm: Algorithm, identity: ResultIdentity) -> tuple[WrittenResult, ...]:
        content = ResultContent(self.volume, self.segments, (), algorithm, identity)
        return write_results(content, self.folder, (SegmentationWriter(), ReportWriter()))


@pytest.fixture
def source(
    tmp_path: Path,
    volume_of: Callable[[Any], SourceVolume],
    drawn: Callable[..., list[ResultSegment]],
) -> Source:
    phantom = phantoms.torso_ct(
        tmp_path / "ct", orientation="oblique", shape=(20, 61, 53), spacing_mm=(5.0, 6.0, 6.0)
    )
    segments = drawn(phantom, "liver", "spleen", "right kidney")
    return Source(volume_of(phantom), segments, tmp_path)


@pytest.fixture
def results(
    source: Source, algorithm: Algorithm, identity: ResultIdentity
) -> tuple[WrittenResult, ...]:
    return source.results(algorithm, identity)


def masks_of(path: Path) -> dict[int, NDArray[np.bool_]]:
    """What highdicom, which did not write it, reads of each segment, slices by their position."""
    seg = highdicom.seg.segread(path)
    volume = seg.get_volume(combine_segments=True)
    return {int(n): volume.array == n for n in seg.segment_numbers if n}


@pytest.mark.parametrize("encoding", LABELMAPS)
def test_another_reader_finds_the_same_voxels_at_the_same_places(
    encoding: SegmentationEncoding, results: tuple[WrittenResult, ...], tmp_path: Path
) -> None:
    seg, _ = as_labelmap(results, encoding, tmp_path / "sent")

    binary, labelmap = (highdicom.seg.segread(path) for path in (results[0].path, seg.path))
    assert labelmap.SegmentationType == "LABELMAP"
    assert labelmap.SOPClassUID == LABELMAP_STORAGE
    assert labelmap.file_meta.TransferSyntaxUID == TRANSFER_SYNTAX[encoding]
    assert "SegmentIdentificationSequence" not in str(labelmap.PerFrameFunctionalGroupsSequence)
    before = binary.get_volume(combine_segments=True)
    after = labelmap.get_volume(combine_segments=True)
    assert np.array_equal(before.array, after.array)
    assert np.allclose(before.affine, after.affine)
    assert len(np.unique(after.array)) == 4
    assert seg.path.stat().st_size > 1000


@pytest.mark.parametrize("encoding", LABELMAPS)
def test_the_report_refers_to_the_label_map(
    encoding: SegmentationEncoding, results: tuple[WrittenResult, ...], tmp_path: Path
) -> None:
    seg, report = as_labelmap(results, encoding, tmp_path / "sent")

    text = pydicom.dcmread(report.path).to_json()
    before = pydicom.dcmread(results[1].path).to_json()
    assert results[0].sop_instance_uid in before
    for uid in (results[0].sop_instance_uid, results[0].series_instance_uid):
        assert uid not in text
    assert text.count(seg.sop_instance_uid) == before.count(results[0].sop_instance_uid)
    assert text.count(LABELMAP_STORAGE) == before.count(results[0].sop_class_uid)
    assert report.sop_instance_uid != results[1].sop_instance_uid
    assert pydicom.dcmread(report.path).SOPInstanceUID == report.sop_instance_uid


def test_it_is_another_instance_and_the_same_one_each_time(
    results: tuple[WrittenResult, ...], tmp_path: Path
) -> None:
    encoding = SegmentationEncoding.LABELMAP
    first = as_labelmap(results, encoding, tmp_path / "first")
    second = as_labelmap(results, encoding, tmp_path / "second")

    uids = {result.sop_instance_uid for result in (*results, *first)}
    assert len(uids) == 4
    for one, other in zip(first, second, strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()


def test_more_than_255_segments_take_two_bytes(
    source: Source,
    algorithm: Algorithm,
    identity: ResultIdentity,
    tmp_path: Path,
) -> None:
    liver = source.segments[0]

    def dot(number: int) -> ResultSegment:
        mask = np.zeros(source.volume.intensities.shape, dtype=np.bool_)
        mask[5, number // 50, number % 50] = True
        name = f"dot {number}"
        return replace(liver, voxels=Voxels.of(mask), label=name, tracking_id=name)

    source.segments = [dot(number) for number in range(300)]
    (seg, _) = as_labelmap(
        source.results(algorithm, identity), SegmentationEncoding.LABELMAP, tmp_path / "sent"
    )

    ds = pydicom.dcmread(seg.path)
    assert (ds.BitsAllocated, ds.NumberOfFrames) == (16, 1)
    assert int(ds.pixel_array.max()) == 300


def test_segments_that_overlap_stay_binary(
    source: Source, algorithm: Algorithm, identity: ResultIdentity, tmp_path: Path
) -> None:
    liver, spleen, _ = source.segments
    source.segments = [liver, replace(spleen, voxels=Voxels.of(liver.voxels.whole()))]

    results = source.results(algorithm, identity)

    assert as_labelmap(results, SegmentationEncoding.LABELMAP, tmp_path) == ()


def test_a_report_alone_stays_as_it_is(results: tuple[WrittenResult, ...], tmp_path: Path) -> None:
    (report,) = (result for result in results if result.kind is ResultKind.SR)

    assert as_labelmap([report], SegmentationEncoding.LABELMAP, tmp_path) == ()


def test_a_file_with_other_voxels_is_found_out(
    results: tuple[WrittenResult, ...], tmp_path: Path
) -> None:
    seg, _ = as_labelmap(results, SegmentationEncoding.LABELMAP_RLE, tmp_path / "sent")
    labels = pydicom.dcmread(seg.path).pixel_array.astype(np.uint16)
    check_labelmap(seg.path, labels)
    labels[0, 30, 30] += 1

    with pytest.raises(ResultMismatch, match="other voxels"):
        check_labelmap(seg.path, labels)


@pytest.mark.parametrize(("columns", "told"), [(53, True), (56, False)])
def test_frames_that_end_within_a_byte_are_told_of(
    columns: int,
    told: bool,
    tmp_path: Path,
    volume_of: Callable[[Any], SourceVolume],
    drawn: Callable[..., list[ResultSegment]],
    algorithm: Algorithm,
    identity: ResultIdentity,
    caplog: pytest.LogCaptureFixture,
) -> None:
    phantom = phantoms.torso_ct(
        tmp_path / "odd", shape=(20, 61, columns), spacing_mm=(5.0, 6.0, 6.0)
    )

    Source(volume_of(phantom), drawn(phantom, "liver"), tmp_path).results(algorithm, identity)

    assert (f"61 x {columns} pixels, no multiple of 8" in caplog.text) == told
