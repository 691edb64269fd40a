"""What a result says of how it was made, and how results of several requests are told apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.results.report import ReportWriter
from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.writers import write_results
from dicom_node.values import Algorithm, ResultContent, ResultIdentity, ResultSegment, SourceVolume
from tests.support import phantoms

Write = Callable[..., list[Dataset]]


@pytest.fixture
def both(
    tmp_path: Path,
    volume_of: Callable[[Any], SourceVolume],
    drawn: Callable[..., list[ResultSegment]],
    algorithm: Algorithm,
    identity: ResultIdentity,
) -> Write:
    """Writes SEG and SR with these fields of algorithm and identity."""
    phantom = phantoms.torso_ct(tmp_path / "ct", series_number=4)
    volume, segments = volume_of(phantom), drawn(phantom, "liver")

    def write(ordinal: int = 0, **of_algorithm: Any) -> list[Dataset]:
        content = ResultContent(
            volume,
            segments,
            (),
            replace(algorithm, **of_algorithm),
            replace(identity, ordinal=ordinal),
        )
        results = write_results(content, tmp_path, (SegmentationWriter(), ReportWriter()))
        return [pydicom.dcmread(result.path) for result in results]

    return write


@pytest.mark.parametrize(
    ("ordinal", "seg_number", "sr_number"),
    [(0, 4010, 4020), (1, 4011, 4021), (9, 4019, 4029), (10, 4110, 4120), (99, 4919, 4929)],
)
def test_each_request_on_a_study_has_numbers_of_its_own(
    both: Write, ordinal: int, seg_number: int, sr_number: int
) -> None:
    seg, report = both(ordinal)

    assert (seg.SeriesNumber, report.SeriesNumber) == (seg_number, sr_number)


def test_beyond_a_hundred_requests_the_last_number_stays(both: Write) -> None:
    seg, report = both(5000)

    assert (seg.SeriesNumber, report.SeriesNumber) == (4919, 4929)


def test_the_description_says_which_result_it_is(both: Write) -> None:
    first, _ = both(0)
    third, report = both(2)

    assert "result" not in first.SeriesDescription
    assert third.SeriesDescription.startswith("AI SEG liver")
    assert third.SeriesDescription.endswith(" - on S4, result 3")
    assert report.SeriesDescription.endswith(" - on S4, result 3")
    assert len(third.SeriesDescription) <= 64


def test_settings_and_prompts_are_named_by_their_digests(both: Write) -> None:
    weights, settings, prompts = "a" * 64, "b" * 64, "c" * 64

    seg, report = both(
        weights_sha256=(weights, weights), settings_sha256=settings, prompts_sha256=prompts
    )

    item = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert item.AlgorithmParameters == (
        f"weights_sha256={weights}, {weights},settings_sha256={settings},prompts_sha256={prompts}"
    )
    for result in (seg, report):
        description = result.ContributingEquipmentSequence[0].ContributionDescription
        assert f"; settings: SHA-256 {settings}; prompts: SHA-256 {prompts}" in description
        assert f"SHA-256 {weights}, SHA-256 {weights};" in description
    assert f"settings SHA-256 {settings}" in report.to_json()
    assert f"prompts SHA-256 {prompts}" in report.to_json()


def test_the_device_uid_is_that_of_the_model_and_changes_with_it(both: Write) -> None:
    def uids(**changes: Any) -> set[str]:
        return {ds.ContributingEquipmentSequence[0].DeviceUID for ds in both(**changes)}

    same, again = uids(weights_sha256=("a" * 64,)), uids(weights_sha256=("a" * 64,))
    others = [
        uids(weights_sha256=("b" * 64,)),
        uids(weights_sha256=("a" * 64,), settings_sha256="c" * 64),
        uids(weights_sha256=("a" * 64,), version="9"),
    ]

    assert same == again
    assert len(same) == 1
    assert len({uid for uid_set in (same, *others) for uid in uid_set}) == 4


def test_what_is_not_known_is_not_said(both: Write) -> None:
    seg, report = both(weights_sha256=(), settings_sha256="", prompts_sha256="")

    item = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert "AlgorithmParameters" not in item
    assert "SHA-256" not in report.to_json() + seg.to_json()
