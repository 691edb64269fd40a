"""Every kind of result has a writer, and nothing gets its name before it was read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from dicom_node.errors import ResultMismatch
from dicom_node.fakes import FakeResultWriter
from dicom_node.result_kinds import DEFAULT_KINDS, SOP_CLASSES
from dicom_node.results.writers import RESULT_WRITERS, write_result, write_results, writers_of
from dicom_node.values import Algorithm, ResultContent, ResultIdentity, ResultKind, ResultSegment
from tests.support import phantoms


@pytest.fixture
def content(
    volume_of: Callable[[Any], Any],
    drawn: Callable[..., list[ResultSegment]],
    algorithm: Algorithm,
    identity: ResultIdentity,
    tmp_path: Path,
) -> ResultContent:
    """A liver on a small phantom."""
    phantom = phantoms.torso_ct(tmp_path / "study", shape=(12, 64, 64))
    segments = drawn(phantom, "liver")
    return ResultContent(volume_of(phantom), segments, (), algorithm, identity)


def test_every_kind_has_one_writer_and_a_file_of_its_own() -> None:
    assert [writer.kind for writer in RESULT_WRITERS] == list(ResultKind)
    assert len({writer.file_name for writer in RESULT_WRITERS}) == len(RESULT_WRITERS)


def test_all_kinds_are_written_and_later_ones_know_the_earlier(
    content: ResultContent, tmp_path: Path
) -> None:
    results = write_results(content, tmp_path)

    assert [result.kind for result in results] == ["SEG", "SR"]
    # as a destination is asked about before there is any result
    assert [result.sop_class_uid for result in results] == [
        SOP_CLASSES[result.kind] for result in results
    ]
    assert [result.path.name for result in results] == ["seg.dcm", "sr.dcm"]
    evidence = dcmread(results[1].path).CurrentRequestedProcedureEvidenceSequence[0]
    series = [item.SeriesInstanceUID for item in evidence.ReferencedSeriesSequence]
    assert results[0].series_instance_uid in series


def test_further_kinds_are_written_where_they_are_wanted(
    content: ResultContent, tmp_path: Path
) -> None:
    results = write_results(content, tmp_path, writers_of(set(ResultKind)))

    assert [result.kind for result in results] == list(ResultKind)
    assert [result.sop_class_uid for result in results] == [
        SOP_CLASSES[result.kind] for result in results
    ]
    assert [writer.kind for writer in writers_of(DEFAULT_KINDS)] == ["SEG", "SR"]


def test_a_kind_that_has_nothing_to_say_is_left_out(content: ResultContent, tmp_path: Path) -> None:
    nothing = ResultContent(content.volume, (), (), content.algorithm, content.identity)

    assert write_results(nothing, tmp_path) == ()


def test_a_further_kind_is_a_further_writer(content: ResultContent, tmp_path: Path) -> None:
    writer = FakeResultWriter()

    (result,) = write_results(content, tmp_path, [writer])

    assert dcmread(result.path).ContentDescription == "liver"
    assert len(writer.checked) == 1
    assert writer.checked[0] != result.path  # read back before it had its name


def test_what_does_not_say_what_was_meant_gets_no_name(
    content: ResultContent, tmp_path: Path
) -> None:
    writer = FakeResultWriter(ResultMismatch("another liver"))

    with pytest.raises(ResultMismatch, match="another liver"):
        write_result(writer, content, tmp_path / "out" / "fake.dcm")

    assert list((tmp_path / "out").iterdir()) == []
