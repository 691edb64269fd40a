"""A finding is coded as a finding, and where it lies is said in SEG and SR alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.errors import ResultMismatch
from dicom_node.results.check_report import check_report
from dicom_node.results.check_segmentation import check_segmentation
from dicom_node.results.report import ReportWriter
from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.writers import write_result
from dicom_node.values import (
    Algorithm,
    Code,
    Region,
    ResultContent,
    ResultIdentity,
    ResultSegment,
    SourceVolume,
    UndrawnFinding,
    WrittenResult,
)
from tests.support import phantoms

ALTERED = Code("49755003", "SCT", "Morphologically Altered Structure")
CYST = Code("367643001", "SCT", "Cyst")
KIDNEY, LEFT = Code("64033007", "SCT", "Kidney"), Code("7771000", "SCT", "Left")
IN_LEFT_KIDNEY = Region(KIDNEY, LEFT)


@pytest.fixture
def volume(
    tmp_path: Path, volume_of: Callable[[Any], SourceVolume]
) -> tuple[phantoms.Phantom, SourceVolume]:
    phantom = phantoms.torso_ct(tmp_path / "ct")
    return phantom, volume_of(phantom)


@pytest.fixture
def cyst(
    volume: tuple[phantoms.Phantom, SourceVolume], drawn: Callable[..., list[ResultSegment]]
) -> ResultSegment:
    (liver,) = drawn(volume[0], "liver")
    return replace(
        liver,
        label="Left kidney cyst",
        category=ALTERED,
        type=CYST,
        tracking_id="Left kidney cyst",
        region=IN_LEFT_KIDNEY,
    )


@pytest.fixture
def written(
    volume: tuple[phantoms.Phantom, SourceVolume],
    cyst: ResultSegment,
    algorithm: Algorithm,
    identity: ResultIdentity,
    tmp_path: Path,
) -> WrittenResult:
    return write_result(
        SegmentationWriter(),
        ResultContent(volume[1], [cyst], (), algorithm, identity),
        tmp_path / "seg.dcm",
    )


def coded(items: Any) -> list[str]:
    """Code values of a sequence."""
    return [str(item.CodeValue) for item in items or []]


def sites(report: Dataset) -> list[tuple[str, list[str]]]:
    """Every finding site of a report with its laterality, in document order."""
    found = []
    for item in report.get("ContentSequence") or []:
        concept = item.get("ConceptNameCodeSequence")
        if concept and concept[0].CodeValue == "363698007":
            below = item.get("ContentSequence") or []
            found.append(
                (
                    str(item.ConceptCodeSequence[0].CodeValue),
                    [str(one.ConceptCodeSequence[0].CodeValue) for one in below],
                )
            )
        found += sites(item)
    return found


def test_the_segment_names_the_finding_and_its_region(written: WrittenResult) -> None:
    (segment,) = pydicom.dcmread(written.path).SegmentSequence

    assert coded(segment.SegmentedPropertyCategoryCodeSequence) == ["49755003"]
    assert coded(segment.SegmentedPropertyTypeCodeSequence) == ["367643001"]
    assert (
        "SegmentedPropertyTypeModifierCodeSequence"
        not in segment.SegmentedPropertyTypeCodeSequence[0]
    )
    assert coded(segment.AnatomicRegionSequence) == ["64033007"]
    assert coded(segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence) == ["7771000"]


@pytest.mark.parametrize(
    "other",
    [None, Region(KIDNEY), Region(CYST, LEFT), Region(KIDNEY, Code("24028007", "SCT", "Right"))],
)
def test_another_region_is_not_sent(
    other: Region | None,
    volume: tuple[phantoms.Phantom, SourceVolume],
    cyst: ResultSegment,
    written: WrittenResult,
) -> None:
    with pytest.raises(ResultMismatch, match="another region for segment 1"):
        check_segmentation(written.path, volume[1], [replace(cyst, region=other)])


def test_the_report_says_where_found_and_absent_findings_lie(
    volume: tuple[phantoms.Phantom, SourceVolume],
    cyst: ResultSegment,
    written: WrittenResult,
    algorithm: Algorithm,
    identity: ResultIdentity,
    tmp_path: Path,
) -> None:
    # Arrange: one found, one looked for in vain, one whose place nobody said
    absent = UndrawnFinding(
        "Kidney cyst", CYST, None, "Kidney cyst", "none", Region(KIDNEY), ALTERED
    )
    anywhere = replace(absent, label="Cyst", tracking_id="Cyst", region=None)

    # Act
    report = write_result(
        ReportWriter(),
        ResultContent(volume[1], [cyst], [absent, anywhere], algorithm, identity),
        tmp_path / "sr.dcm",
        [written],
    )

    # Assert
    assert sites(pydicom.dcmread(report.path)) == [("64033007", ["7771000"]), ("64033007", [])]
    with pytest.raises(ResultMismatch, match="another site for Cyst"):
        check_report(
            report.path,
            volume[1],
            [cyst],
            [absent, replace(anywhere, region=Region(KIDNEY))],
            written,
        )
    with pytest.raises(ResultMismatch, match="another laterality for Left kidney cyst"):
        check_report(
            report.path,
            volume[1],
            [replace(cyst, region=Region(KIDNEY))],
            [absent, anywhere],
            written,
        )


@pytest.mark.peer
def test_the_standard_has_no_objection(written: WrittenResult, peer: Callable[[str], str]) -> None:
    import subprocess

    said = subprocess.run(
        [peer("dciodvfy"), written.path], capture_output=True, text=True, check=False
    )

    assert (said.returncode, "Error" in said.stderr) == (0, False), said.stderr
