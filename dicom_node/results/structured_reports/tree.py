"""The content tree of a report, read with pydicom alone, and what all of ours must have in it."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from dicom_node.errors import ResultMismatch
from dicom_node.values import (
    Code,
    ResultSegment,
    SourceVolume,
    UndrawnFinding,
    WrittenResult,
    site_of,
)

Key = tuple[str, str]

# Written a second time on purpose: a wrong code in the writer's table must not pass here
_TRACKING_IDENTIFIER = ("112039", "DCM")
_FINDING = ("121071", "DCM")
_SITE = ("363698007", "SCT")
_LATERALITY = ("272741003", "SCT")
_COMMENT = ("121106", "DCM")

_COMPARED = 500  # letters of a comment, which may have been cut


def require(same: bool, what: str) -> None:
    """ResultMismatch unless `same`; `what` is what the report has instead."""
    if not same:
        raise ResultMismatch(f"the report read back from its file has {what}")


def items_of(item: Dataset) -> list[Dataset]:
    """The content items directly below one."""
    return list(item.get("ContentSequence") or [])


def code_of(item: Dataset) -> Key:
    """Value and scheme of a coded item; the meaning is for people."""
    return str(item.CodeValue), str(item.CodingSchemeDesignator)


def below(item: Dataset, name: Key) -> Iterator[Dataset]:
    """All content items of that concept name anywhere below, in document order."""
    for child in items_of(item):
        concept = child.get("ConceptNameCodeSequence")
        if concept and code_of(concept[0]) == name:
            yield child
        yield from below(child, name)


def only(group: Dataset, name: Key) -> Dataset:
    """The one content item of that concept name below a group."""
    matches = list(below(group, name))
    require(len(matches) == 1, f"{len(matches)} items of concept {name[0]} in one group")
    return matches[0]


def check_evidence(
    report: Dataset, volume: SourceVolume, segmentation: WrittenResult | None
) -> None:
    """Check that evidence is every instance of the source and the SEG, in one study."""
    study = report.CurrentRequestedProcedureEvidenceSequence
    require(
        [item.StudyInstanceUID for item in study] == [volume.study_instance_uid],
        "evidence of another study",
    )
    named = {
        series.SeriesInstanceUID: {
            item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence
        }
        for series in study[0].ReferencedSeriesSequence
    }
    expected = {volume.series_instance_uid: {frame.sop_instance_uid for frame in volume.frames}}
    if segmentation is not None:
        expected[segmentation.series_instance_uid] = {segmentation.sop_instance_uid}
    require(named == expected, "other evidence than its sources")


def check_structure(group: Dataset, structure: ResultSegment | UndrawnFinding) -> None:
    """Check tracking, finding, site and laterality of a group."""
    require(
        only(group, _TRACKING_IDENTIFIER).TextValue == structure.tracking_id[:64],
        f"another tracking identifier for {structure.label}",
    )
    expected = (structure.type.value, structure.type.scheme)
    require(
        code_of(only(group, _FINDING).ConceptCodeSequence[0]) == expected,
        f"another finding for {structure.label}",
    )
    site = site_of(structure)
    sites = [] if site is None else _keys(site.type)
    sides = [] if site is None else _keys(site.laterality)
    site_items = list(below(group, _SITE))
    require(
        [code_of(item.ConceptCodeSequence[0]) for item in site_items] == sites,
        f"another site for {structure.label}",
    )
    require(
        [
            code_of(side.ConceptCodeSequence[0])
            for item in site_items
            for side in below(item, _LATERALITY)
        ]
        == sides,
        f"another laterality for {structure.label}",
    )


def check_comment(group: Dataset, text: str, label: str) -> None:
    """Check that what is in doubt is said, where there is a doubt, and nothing where there is
    none; its letters may have been replaced by plain ones.
    """
    comments = [str(item.TextValue) for item in below(group, _COMMENT)]
    require(len(comments) == bool(text.strip()), f"another comment on {label}")
    same = [_letters(comment)[:_COMPARED] == _letters(text)[:_COMPARED] for comment in comments]
    require(all(same) or not text.isascii(), f"another comment on {label}")


def _letters(text: str) -> str:
    return "".join(letter for letter in text if letter.isalnum())


def _keys(code: Code | None) -> list[Key]:
    return [] if code is None else [(code.value, code.scheme)]


def number_of(group: Dataset, name: Key, unit: str) -> float:
    """The value of a NUM item in the unit it must have."""
    measured = only(group, name).MeasuredValueSequence[0]
    require(
        code_of(measured.MeasurementUnitsCodeSequence[0]) == (unit, "UCUM"),
        f"concept {name[0]} in another unit",
    )
    return float(measured.NumericValue)
