"""Every kind of result object, and the one way in which each gets on disk.

A new kind is a member of ResultKind, its writer, what reads it back, and an entry here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from dicom_node.durable import whole_file
from dicom_node.ports import ResultWriter
from dicom_node.result_kinds import DEFAULT_KINDS
from dicom_node.results.report import ReportWriter
from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.structure_sets.structure_set_writer import StructureSetWriter
from dicom_node.results.structured_reports.diameter_report import DiameterReportWriter
from dicom_node.values import ResultContent, ResultKind, WrittenResult

RESULT_WRITERS: tuple[ResultWriter, ...] = (
    SegmentationWriter(),
    ReportWriter(),
    DiameterReportWriter(),
    StructureSetWriter(),
)
"""One for each ResultKind, in the same order: a report refers to the SEG before it."""


def writers_of(kinds: Collection[ResultKind]) -> tuple[ResultWriter, ...]:
    """The writers of `kinds`, in the order in which they write."""
    return tuple(writer for writer in RESULT_WRITERS if writer.kind in kinds)


DEFAULT_WRITERS = writers_of(DEFAULT_KINDS)
"""What is written where no destination says what it takes."""


def write_results(
    content: ResultContent, folder: Path, writers: Sequence[ResultWriter] = DEFAULT_WRITERS
) -> tuple[WrittenResult, ...]:
    """Write `content` as every kind of object that can say any of it, each in its own file of
    `folder`. Errors as of `write_result`.
    """
    results: list[WrittenResult] = []
    for writer in writers:
        if writer.applies(content):
            results.append(write_result(writer, content, folder / writer.file_name, results))
    return tuple(results)


def write_result(
    writer: ResultWriter,
    content: ResultContent,
    path: Path,
    earlier: Sequence[WrittenResult] = (),
) -> WrittenResult:
    """Write one object at `path`; it appears there only after its bytes were read back.

    UIDs follow from `content.identity`, so writing the same again replaces the file by an equal
    one. ValueError for content that such an object cannot hold; ResultMismatch when the
    written file is not what was intended; OSError when a source is gone or the disk is full.
    """
    result = writer.write(content, earlier)
    with whole_file(path, lambda temporary: writer.check(temporary, content, earlier)) as new_file:
        result.save_as(new_file, enforce_file_format=True)
    return WrittenResult(
        writer.kind, path, result.SOPClassUID, result.SOPInstanceUID, result.SeriesInstanceUID
    )
