"""Results on pictures lie in the picture's own matrix, claim no volume, and are read by others."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.errors import ResultMismatch
from dicom_node.results.check_report import check_report
from dicom_node.results.check_segmentation import check_segmentation, segment_masks
from dicom_node.results.report import ReportWriter
from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.writers import write_result
from dicom_node.series.header import read_header
from dicom_node.values import (
    Algorithm,
    ResultContent,
    ResultIdentity,
    ResultSegment,
    SourceVolume,
    WrittenResult,
)
from dicom_node.volume.volume import load_volume
from tests.support import archives, pictures

Peer = Callable[[str], str]
KINDS = ["CR", "DX", "US", "XC", "OP", "ES", "SC"]
SIZED: dict[str, Any] = {"PixelSpacing": ["0.5", "0.25"]}


@dataclass(frozen=True, eq=False)
class Made:
    """A picture and what was written of it."""

    volume: SourceVolume
    segments: list[ResultSegment]
    seg: WrittenResult
    report: WrittenResult


@pytest.fixture
def make(
    tmp_path: Path,
    segment: Callable[..., ResultSegment],
    algorithm: Algorithm,
    identity: ResultIdentity,
) -> Callable[..., Made]:
    """Writes SEG and SR of a picture's body, and of a second, overlapping structure."""

    def build(kind: str = "DX", **elements: Any) -> Made:
        made = pictures.picture(tmp_path / "picture", kind, **elements)
        volume = load_volume([read_header(made.path)])
        corner = np.zeros(made.mask.shape, dtype=bool)
        corner[3:30, 2:40] = True
        segments = [segment("liver", made.mask[None]), segment("left kidney", corner[None])]
        seg = write_result(
            SegmentationWriter(),
            ResultContent(volume, segments, (), algorithm, identity),
            tmp_path / "seg.dcm",
        )
        report = write_result(
            ReportWriter(),
            ResultContent(volume, segments, [], algorithm, identity),
            tmp_path / "sr.dcm",
            [seg],
        )
        return Made(volume, segments, seg, report)

    return build


def items(ds: Dataset) -> list[Dataset]:
    """Every content item below, in document order."""
    below = list(ds.get("ContentSequence") or [])
    return [one for item in below for one in (item, *items(item))]


def measured(report: Dataset) -> list[tuple[str, str, float]]:
    """Concept, unit and value of every number."""
    return [
        (
            str(item.ConceptNameCodeSequence[0].CodeMeaning),
            str(item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue),
            float(item.MeasuredValueSequence[0].NumericValue),
        )
        for item in items(report)
        if item.ValueType == "NUM"
    ]


def unpacked(seg: Dataset) -> NDArray[np.bool_]:
    """Frames (n, rows, columns) by pydicom, whose own reading of bits is not ours."""
    pixels = seg.pixel_array.astype(bool)
    return pixels if pixels.ndim == 3 else pixels[None]


class TestSegmentation:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_frame_a_segment_in_the_pictures_own_matrix(
        self, kind: str, make: Callable[..., Made]
    ) -> None:
        made = make(kind)

        seg = dcmread(made.seg.path)

        assert (seg.Rows, seg.Columns, int(seg.NumberOfFrames)) == (48, 64, 2)
        np.testing.assert_array_equal(
            unpacked(seg), np.concatenate([one.voxels.whole() for one in made.segments])
        )
        assert "FrameOfReferenceUID" not in seg
        assert list(seg.PatientOrientation) == ["L", "F"]
        source = made.volume.frames[0]
        for number, group in enumerate(seg.PerFrameFunctionalGroupsSequence, start=1):
            item = group.DerivationImageSequence[0].SourceImageSequence[0]
            assert item.ReferencedSOPInstanceUID == source.sop_instance_uid
            assert item.ReferencedSOPClassUID == source.sop_class_uid
            assert "ReferencedFrameNumber" not in item
            assert "PlanePositionSequence" not in group
            assert group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number

    def test_masks_are_read_back_by_label(self, make: Callable[..., Made]) -> None:
        made = make()

        masks = segment_masks(made.seg.path, made.volume)

        for one in made.segments:
            np.testing.assert_array_equal(masks[one.label], one.voxels.whole())

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (
                lambda seg: setattr(seg, "FrameOfReferenceUID", "1.2.3"),
                "another frame of reference",
            ),
            (lambda seg: setattr(seg, "PixelData", b"\xff" * len(seg.PixelData)), "wrong voxels"),
            (lambda seg: seg.PerFrameFunctionalGroupsSequence.reverse(), "wrong voxels"),
            (
                lambda seg: setattr(
                    seg.PerFrameFunctionalGroupsSequence[1].SegmentIdentificationSequence[0],
                    "ReferencedSegmentNumber",
                    1,
                ),
                "two frames of one segment",
            ),
            (
                lambda seg: setattr(
                    seg.PerFrameFunctionalGroupsSequence[0]
                    .DerivationImageSequence[0]
                    .SourceImageSequence[0],
                    "ReferencedSOPInstanceUID",
                    "1.2.3",
                ),
                "derived from another image",
            ),
            (
                lambda seg: setattr(
                    seg.PerFrameFunctionalGroupsSequence[0], "PlanePositionSequence", [Dataset()]
                ),
                "PlanePositionSequence although its source has no place",
            ),
        ],
    )
    def test_what_is_not_what_was_meant_is_not_sent(
        self, spoil: Callable[[Dataset], Any], said: str, make: Callable[..., Made]
    ) -> None:
        made = make()
        seg = dcmread(made.seg.path)
        spoil(seg)
        seg.save_as(made.seg.path)

        with pytest.raises(ResultMismatch, match=said):
            check_segmentation(made.seg.path, made.volume, made.segments)


class TestReport:
    def test_area_and_axes_where_pixels_have_a_size(self, make: Callable[..., Made]) -> None:
        # Arrange: a rectangle of 27 rows of 0.5 mm and 38 columns of 0.25 mm
        made = make("DX", **SIZED)

        numbers = measured(dcmread(made.report.path))[3:]

        area, long_axis, short_axis = numbers
        assert area == ("Area", "mm2", pytest.approx(27 * 0.5 * 38 * 0.25))
        assert long_axis[:2] == ("Long Axis", "mm")
        assert short_axis[:2] == ("Short Axis", "mm")
        assert 13.5 < long_axis[2] < np.hypot(13.5, 9.5) + 1e-3

    def test_pixels_and_nothing_else_where_they_have_none(self, make: Callable[..., Made]) -> None:
        made = make("ES")

        assert measured(dcmread(made.report.path))[1:] == [
            ("Area", "{pixels}", 27 * 38),
        ]

    def test_the_group_refers_to_its_frame_and_the_picture(self, make: Callable[..., Made]) -> None:
        made = make()

        groups = [
            item
            for item in items(dcmread(made.report.path))
            if item.get("ConceptNameCodeSequence")
            and item.ConceptNameCodeSequence[0].CodeMeaning == "Measurement Group"
        ]

        for number, group in enumerate(groups, start=1):
            referred = {
                str(item.ConceptNameCodeSequence[0].CodeValue): item.ReferencedSOPSequence[0]
                for item in items(group)
                if item.ValueType == "IMAGE"
            }
            assert set(referred) == {"121214", "121233"}  # segmentation frame, source image
            assert referred["121214"].ReferencedSOPInstanceUID == made.seg.sop_instance_uid
            assert referred["121214"].ReferencedFrameNumber == number
            assert "ReferencedSegmentNumber" not in referred["121214"]
            assert (
                referred["121233"].ReferencedSOPInstanceUID
                == made.volume.frames[0].sop_instance_uid
            )

    def test_a_report_of_another_size_is_not_sent(self, make: Callable[..., Made]) -> None:
        made = make("DX", **SIZED)
        affine = made.volume.affine_zyx_to_lps.copy()
        affine[:3, 1:3] *= 1.1

        with pytest.raises(ResultMismatch, match="another area of liver"):
            check_report(
                made.report.path,
                replace(made.volume, affine_zyx_to_lps=affine),
                made.segments,
                [],
                made.seg,
            )

    def test_millimetres_nobody_knows_are_not_sent(self, make: Callable[..., Made]) -> None:
        made = make("DX", **SIZED)

        with pytest.raises(ResultMismatch, match="concept 42798000 in another unit"):
            check_report(
                made.report.path, replace(made.volume, sized=False), made.segments, [], made.seg
            )


@pytest.mark.peer
class TestPeers:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("sized", [True, False], ids=["sized", "unsized"])
    def test_dciodvfy_finds_no_error(
        self, sized: bool, kind: str, make: Callable[..., Made], peer: Peer
    ) -> None:
        program, made = peer("dciodvfy"), make(kind, **(SIZED if sized else {}))

        for result, name in ((made.seg, "Segmentation"), (made.report, "EnhancedSR")):
            done = subprocess.run(
                [program, result.path], capture_output=True, text=True, check=False, timeout=60
            )
            said = done.stdout + done.stderr
            assert [line for line in said.splitlines() if line.startswith("Error")] == []
            assert done.returncode == 0
            assert name in said

    def test_another_reader_finds_the_measurements(
        self, make: Callable[..., Made], peer: Peer, tmp_path: Path
    ) -> None:
        program, made = peer("tid1500reader"), make("DX", **SIZED)
        told = tmp_path / "told.json"

        subprocess.run(
            [program, "--inputDICOM", made.report.path, "--outputMetadata", told],
            capture_output=True,
            check=True,
            timeout=60,
        )

        groups = json.loads(told.read_text(encoding="utf-8"))["Measurements"]
        area = {
            (one["quantity"]["CodeMeaning"], one["units"]["CodeValue"]): float(one["value"])
            for one in groups[1]["measurementItems"]
        }[("Area", "mm2")]
        assert area == pytest.approx(27 * 0.5 * 38 * 0.25)

    def test_an_archive_takes_them_and_gives_them_back(
        self, make: Callable[..., Made], peer: Peer, tmp_path: Path
    ) -> None:
        pacs = archives.Orthanc(peer("Orthanc"), tmp_path / "pacs")
        try:
            made = make("US")

            pacs.destination().send([made.seg, made.report])

            stored = pacs.stored()
            assert set(stored) == {made.seg.sop_instance_uid, made.report.sop_instance_uid}
            np.testing.assert_array_equal(
                unpacked(stored[made.seg.sop_instance_uid]), unpacked(dcmread(made.seg.path))
            )
        finally:
            pacs.stop()
