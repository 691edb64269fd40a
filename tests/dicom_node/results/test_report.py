"""The report says what was found, where and how large, and what was looked for in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
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
    ResultContent,
    ResultIdentity,
    ResultSegment,
    SourceVolume,
    UndrawnFinding,
    WrittenResult,
)
from dicom_node.voxels import Voxels
from tests.support import phantoms

GALLBLADDER = UndrawnFinding(
    "gallbladder",
    Code("28231008", "SCT", "Gallbladder"),
    None,
    "gallbladder",
    "not on any of 40 slices",
)
RIGHT_KIDNEY = UndrawnFinding(
    "right kidney",
    Code("64033007", "SCT", "Kidney"),
    Code("24028007", "SCT", "Right"),
    "right_kidney",
    "",
)


class Case:
    """A volume with liver and left kidney drawn, a SEG of them, and a way to report."""

    def __init__(
        self, volume: SourceVolume, segments: list[ResultSegment], folder: Path, who: Any
    ) -> None:
        self.volume, self.segments, self.folder = volume, segments, folder
        self.algorithm, self.identity = who
        self.seg = write_result(
            SegmentationWriter(),
            ResultContent(volume, segments, (), self.algorithm, self.identity),
            folder / "seg.dcm",
        )

    def report(
        self,
        name: str,
        absent: list[UndrawnFinding],
        *,
        found: bool = True,
        volume: SourceVolume | None = None,
    ) -> WrittenResult:
        """Write a report; `found` False leaves the segments and the SEG out."""
        return write_result(
            ReportWriter(),
            ResultContent(
                volume or self.volume,
                self.segments if found else [],
                absent,
                self.algorithm,
                self.identity,
            ),
            self.folder / f"{name}.dcm",
            [self.seg] if found else [],
        )


@pytest.fixture(scope="module")
def case(
    tmp_path_factory: pytest.TempPathFactory,
    volume_of: Callable[[Any], SourceVolume],
    drawn: Callable[..., list[ResultSegment]],
    algorithm: Algorithm,
    identity: ResultIdentity,
) -> Case:
    """Liver and left kidney on an axial CT."""
    folder = tmp_path_factory.mktemp("report")
    phantom = phantoms.torso_ct(folder / "ct", shape=(40, 96, 96), series_number=7)
    volume, segments = volume_of(phantom), drawn(phantom, "liver", "left kidney")
    return Case(volume, segments, folder, (algorithm, identity))


def below(item: Dataset, meaning: str) -> Iterator[Dataset]:
    """Content items with that concept meaning, in order."""
    for child in item.get("ContentSequence") or []:
        if child.ConceptNameCodeSequence[0].CodeMeaning == meaning:
            yield child
        yield from below(child, meaning)


def number(group: Dataset, meaning: str, derivation: str = "") -> tuple[float, str]:
    """Value and unit of a measurement."""
    for item in below(group, meaning):
        derived = [each.ConceptCodeSequence[0].CodeMeaning for each in below(item, "Derivation")]
        if derived == ([derivation] if derivation else []):
            value = item.MeasuredValueSequence[0]
            return float(value.NumericValue), value.MeasurementUnitsCodeSequence[0].CodeValue
    raise AssertionError(f"no {meaning} {derivation}")


class TestFound:
    def test_each_structure_has_a_group_that_is_tracked_as_its_segment(self, case: Case) -> None:
        report = pydicom.dcmread(case.report("found", []).path)
        seg = pydicom.dcmread(case.seg.path)

        groups = list(below(report, "Measurement Group"))

        assert [next(below(group, "Tracking Identifier")).TextValue for group in groups] == [
            "liver",
            "left_kidney",
        ]
        for position, (group, item) in enumerate(
            zip(groups, seg.SegmentSequence, strict=True), start=1
        ):
            assert item.TrackingUID == next(below(group, "Tracking Unique Identifier")).UID
            referred = next(below(group, "Referenced Segment")).ReferencedSOPSequence[0]
            assert referred.ReferencedSOPInstanceUID == seg.SOPInstanceUID
            assert referred.ReferencedSegmentNumber == position
            source = next(below(group, "Source Series for Segmentation"))
            assert case.volume.series_instance_uid == source.UID

    def test_finding_and_site_are_coded_with_their_side(self, case: Case) -> None:
        report = pydicom.dcmread(case.report("coded", []).path)

        liver, kidney = below(report, "Measurement Group")

        assert next(below(kidney, "Finding")).ConceptCodeSequence[0].CodeValue == "64033007"
        site = next(below(kidney, "Finding Site"))
        assert site.ConceptCodeSequence[0].CodeValue == "64033007"
        assert next(below(site, "Laterality")).ConceptCodeSequence[0].CodeMeaning == "Left"
        assert not list(below(liver, "Laterality"))

    def test_numbers_are_those_of_the_phantom(self, case: Case) -> None:
        report = pydicom.dcmread(case.report("numbers", []).path)

        liver, kidney = below(report, "Measurement Group")

        # Ellipsoids: 4/3 pi x the semi-axes 68 x 72 x 60 mm and 24 x 22 x 44 mm; voxels are 5 x 4 x
        # 4 mm
        assert number(liver, "Volume") == (pytest.approx(1230.5, rel=0.03), "mL")
        assert number(kidney, "Volume") == (pytest.approx(97.3, rel=0.05), "mL")
        assert number(liver, "Long Axis") == (pytest.approx(144, abs=6), "mm")
        assert number(liver, "Short Axis") == (pytest.approx(136, abs=6), "mm")
        assert number(liver, "Attenuation Coefficient", "Mean") == (
            pytest.approx(110, abs=1),
            "[hnsf'U]",
        )
        assert number(liver, "Attenuation Coefficient", "Standard Deviation") == (
            pytest.approx(8, abs=0.5),
            "[hnsf'U]",
        )
        # an uncalibrated figure says nothing to a reader
        assert not list(below(liver, "Certainty of Finding"))

    def test_intensities_in_no_known_unit_are_not_reported(self, case: Case) -> None:
        report = pydicom.dcmread(
            case.report("unknown", [], volume=replace(case.volume, unit=None)).path
        )

        assert not list(below(report, "Attenuation Coefficient"))
        assert len(list(below(report, "Volume"))) == 2
        assert "ounsfield" not in str(report)

    @pytest.mark.parametrize(
        ("unit", "quantity"),
        [("Bq/ml", "Nuclear Medicine Tomographic Activity"), ("g/ml", "Standardized Uptake Value")],
    )
    def test_pet_is_reported_in_its_own_unit(self, case: Case, unit: str, quantity: str) -> None:
        tiny = replace(
            case.volume,
            intensities=np.full_like(case.volume.intensities, 3.25e-6),
            modality="PT",
            unit=Code(unit, "UCUM", unit),
        )

        report = pydicom.dcmread(case.report("pet", [], volume=tiny).path)

        liver = next(iter(below(report, "Measurement Group")))
        assert number(liver, quantity, "Mean") == (pytest.approx(3.25e-6, rel=1e-5), unit)

    def test_evidence_names_the_source_and_the_segmentation(self, case: Case) -> None:
        report = pydicom.dcmread(case.report("evidence", []).path)

        (study,) = report.CurrentRequestedProcedureEvidenceSequence
        source, seg = study.ReferencedSeriesSequence
        assert source.SeriesInstanceUID == case.volume.series_instance_uid
        assert len(source.ReferencedSOPSequence) == 40
        assert seg.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == case.seg.sop_instance_uid


class TestAbsent:
    def test_it_is_reported_as_not_visualized_with_the_reason(self, case: Case) -> None:
        report = pydicom.dcmread(case.report("both", [GALLBLADDER, RIGHT_KIDNEY]).path)

        *_, gallbladder, kidney = below(report, "Measurement Group")

        evaluation = next(below(gallbladder, "Presence of property")).ConceptCodeSequence[0]
        assert (evaluation.CodeValue, evaluation.CodingSchemeDesignator) == ("122288", "DCM")
        assert next(below(gallbladder, "Comment")).TextValue == "not on any of 40 slices"
        assert next(below(gallbladder, "Finding")).ConceptCodeSequence[0].CodeValue == "28231008"
        assert next(below(kidney, "Laterality")).ConceptCodeSequence[0].CodeValue == "24028007"
        assert not list(below(kidney, "Comment"))
        assert not list(below(kidney, "Volume"))

    def test_what_could_not_be_called_absent_is_undetermined(self, case: Case) -> None:
        open_question = replace(GALLBLADDER, uncertain=True, reason="likely on one slice only")

        report = pydicom.dcmread(case.report("open", [open_question], found=False).path)

        (group,) = below(report, "Measurement Group")
        evaluation = next(below(group, "Presence of property")).ConceptCodeSequence[0]
        # PS3.16 CID 240
        assert (evaluation.CodeValue, evaluation.CodingSchemeDesignator) == ("373068000", "SCT")
        assert evaluation.CodeMeaning == "Undetermined"
        assert next(below(group, "Comment")).TextValue == "likely on one slice only"
        assert not list(below(group, "Certainty of Finding"))

    def test_an_open_question_read_back_as_absent_is_refused(self, case: Case) -> None:
        open_question = replace(GALLBLADDER, uncertain=True)
        written = case.report("taken for absent", [GALLBLADDER], found=False)

        with pytest.raises(ResultMismatch, match="another evaluation of gallbladder"):
            check_report(written.path, case.volume, [], [open_question], None)

    def test_without_any_segmentation(self, case: Case) -> None:
        report = pydicom.dcmread(case.report("absent", [GALLBLADDER], found=False).path)

        (study,) = report.CurrentRequestedProcedureEvidenceSequence
        assert [each.SeriesInstanceUID for each in study.ReferencedSeriesSequence] == [
            case.volume.series_instance_uid
        ]
        assert len(list(below(report, "Measurement Group"))) == 1
        assert report.SeriesDescription == "AI SR gallbladder - segnode litemedsam - on S7"


DOUBTS = ("the structure is cut off by the upper edge of the volume", "6 of its 9 slices")


class TestDoubts:
    @pytest.fixture
    def doubted(self, case: Case, tmp_path: Path) -> Case:
        """The same liver with two doubts, the kidney without any."""
        liver, kidney = case.segments
        segments = [replace(liver, doubts=DOUBTS), kidney]
        return Case(case.volume, segments, tmp_path, (case.algorithm, case.identity))

    def test_they_stand_beside_the_structure_in_both_objects(self, doubted: Case) -> None:
        report = pydicom.dcmread(doubted.report("doubted", []).path)
        seg = pydicom.dcmread(doubted.seg.path)

        liver, kidney = below(report, "Measurement Group")
        assert next(below(liver, "Comment")).TextValue == "; ".join(DOUBTS)
        assert not list(below(kidney, "Comment"))
        assert seg.SegmentSequence[0].SegmentDescription == "; ".join(DOUBTS)
        assert "SegmentDescription" not in seg.SegmentSequence[1]

    def test_a_result_without_them_is_refused(self, case: Case, doubted: Case) -> None:
        written = case.report("without doubts", [])

        with pytest.raises(ResultMismatch, match="another comment on liver"):
            check_report(written.path, case.volume, doubted.segments, [], case.seg)
        with pytest.raises(ResultMismatch, match="what is in doubt of segment 1"):
            check_segmentation(case.seg.path, case.volume, doubted.segments)


class TestDocument:
    def test_it_is_an_enhanced_sr_of_its_own_series(self, case: Case) -> None:
        written = case.report("document", [])
        report = pydicom.dcmread(written.path)

        assert (written.kind, written.sop_class_uid) == ("SR", "1.2.840.10008.5.1.4.1.1.88.22")
        assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
        assert (report.Modality, report.SeriesNumber) == ("SR", 7020)
        assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
        assert report.SeriesInstanceUID != case.seg.series_instance_uid
        assert report.StudyInstanceUID == case.volume.study_instance_uid
        assert (report.PatientID, report.Manufacturer) == ("PHANTOM-1", "Segnode")

    def test_no_person_has_verified_a_report(self, case: Case) -> None:
        report = pydicom.dcmread(case.report("document", []).path)

        assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")

    def test_the_procedure_is_the_imaging_and_not_the_algorithm(self, case: Case) -> None:
        report = pydicom.dcmread(case.report("document", []).path)

        (procedure,) = below(report, "Procedure reported")

        code = procedure.ConceptCodeSequence[0]
        assert (code.CodeValue, code.CodingSchemeDesignator) == ("25045-6", "LN")

    def test_the_same_request_gives_the_same_bytes(self, case: Case) -> None:
        one, two = case.report("one", [GALLBLADDER]), case.report("two", [GALLBLADDER])

        assert one.path.read_bytes() == two.path.read_bytes()

    def test_nothing_to_report_is_refused(self, case: Case) -> None:
        with pytest.raises(ValueError, match="at least one structure"):
            case.report("nothing", [], found=False)

    def test_segments_without_their_segmentation_are_refused(self, case: Case) -> None:
        with pytest.raises(ValueError, match="give both or neither"):
            write_result(
                ReportWriter(),
                ResultContent(case.volume, case.segments, [], case.algorithm, case.identity),
                case.folder / "x.dcm",
            )


def set_code(item: Dataset, value: str) -> None:
    item.ConceptCodeSequence[0].CodeValue = value


def groups(report: Dataset) -> list[Dataset]:
    return list(below(report, "Measurement Group"))


def wrong_volume(report: Dataset) -> None:
    next(below(groups(report)[0], "Volume")).MeasuredValueSequence[0].NumericValue = "1000"


def wrong_unit(report: Dataset) -> None:
    value = next(below(groups(report)[0], "Volume")).MeasuredValueSequence[0]
    value.MeasurementUnitsCodeSequence[0].CodeValue = "mm3"


def long_axis_beyond_the_structure(report: Dataset) -> None:
    next(below(groups(report)[1], "Long Axis")).MeasuredValueSequence[0].NumericValue = "400"


def axes_exchanged(report: Dataset) -> None:
    next(below(groups(report)[0], "Short Axis")).MeasuredValueSequence[0].NumericValue = "150"


def wrong_finding(report: Dataset) -> None:
    set_code(next(below(groups(report)[0], "Finding")), "78961009")


def wrong_site(report: Dataset) -> None:
    set_code(next(below(groups(report)[0], "Finding Site")), "78961009")


def wrong_side(report: Dataset) -> None:
    set_code(next(below(groups(report)[1], "Laterality")), "24028007")


def groups_exchanged(report: Dataset) -> None:
    container = next(below(report, "Imaging Measurements"))
    first, second, *rest = container.ContentSequence
    container.ContentSequence = [second, first, *rest]


def a_group_lost(report: Dataset) -> None:
    del next(below(report, "Imaging Measurements")).ContentSequence[0]


def wrong_segment(report: Dataset) -> None:
    next(below(groups(report)[0], "Referenced Segment")).ReferencedSOPSequence[
        0
    ].ReferencedSegmentNumber = 2


def wrong_segmentation(report: Dataset) -> None:
    item = next(below(groups(report)[0], "Referenced Segment")).ReferencedSOPSequence[0]
    item.ReferencedSOPInstanceUID = "1.2.3"


def wrong_tracking(report: Dataset) -> None:
    next(below(groups(report)[0], "Tracking Unique Identifier")).UID = "1.2.3"


def wrong_series(report: Dataset) -> None:
    next(below(groups(report)[0], "Source Series for Segmentation")).UID = "1.2.3"


def absent_made_present(report: Dataset) -> None:
    set_code(next(below(groups(report)[2], "Presence of property")), "121053")


def evidence_lost(report: Dataset) -> None:
    del (
        report.CurrentRequestedProcedureEvidenceSequence[0]
        .ReferencedSeriesSequence[0]
        .ReferencedSOPSequence[0]
    )


def another_study(report: Dataset) -> None:
    report.StudyInstanceUID = "1.2.3"


DAMAGES: dict[Callable[[Dataset], None], str] = {
    wrong_volume: "another volume of liver",
    wrong_unit: "in another unit",
    long_axis_beyond_the_structure: "odd diameters of left kidney",
    axes_exchanged: "odd diameters of liver",
    wrong_finding: "another finding for liver",
    wrong_site: "another site for liver",
    wrong_side: "another laterality for left kidney",
    groups_exchanged: "another tracking identifier for liver",
    a_group_lost: "2 measurement groups",
    wrong_segment: "another segment than 1",
    wrong_segmentation: "another segmentation",
    wrong_tracking: "another tracking UID than segment 1",
    wrong_series: "another source series",
    absent_made_present: "another evaluation of gallbladder",
    evidence_lost: "other evidence",
    another_study: "another study",
}


class TestReadback:
    @pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
    def test_a_damaged_report_is_refused(
        self, damage: Callable[[Dataset], None], case: Case, tmp_path: Path
    ) -> None:
        report = pydicom.dcmread(case.report("good", [GALLBLADDER]).path)
        damage(report)
        report.save_as(tmp_path / "damaged.dcm")

        with pytest.raises(ResultMismatch, match=DAMAGES[damage]):
            check_report(
                tmp_path / "damaged.dcm", case.volume, case.segments, [GALLBLADDER], case.seg
            )

    def test_a_report_on_another_mask_is_refused(self, case: Case) -> None:
        written = case.report("mask", [])
        larger = [
            replace(
                case.segments[0],
                voxels=Voxels.of(case.segments[0].voxels.whole() | case.segments[1].voxels.whole()),
            ),
            case.segments[1],
        ]

        with pytest.raises(ResultMismatch, match="another volume"):
            check_report(written.path, case.volume, larger, [], case.seg)
