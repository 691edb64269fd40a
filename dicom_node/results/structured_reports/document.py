"""What our measurement reports share: the document (TID 1500), and who measured what and where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias, TypeVar

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicom_node.identity import IMPLEMENTATION_CLASS_UID, MANUFACTURER
from dicom_node.results.report_codes import ANY_PROCEDURE, COMMENT, PROCEDURE_OF_MODALITY
from dicom_node.results.result_header import (
    MODEL_NAME,
    ResultHeader,
    reference,
    shortened,
    software_version,
    sr_code,
)
from dicom_node.results.segmentation import tracking_uid
from dicom_node.values import (
    Algorithm,
    ResultSegment,
    SourceFrame,
    UndrawnFinding,
    WrittenResult,
    site_of,
)

Group: TypeAlias = (
    sr.VolumetricROIMeasurementsAndQualitativeEvaluations
    | sr.PlanarROIMeasurementsAndQualitativeEvaluations
    | sr.MeasurementsAndQualitativeEvaluations
)
OfGroup = TypeVar("OfGroup", bound=Group)


def commented(group: OfGroup, text: str) -> OfGroup:
    """The group with `text` as its comment, if there is any: the template is extensible (PS3.16
    TID 1501), and why something was not drawn or is in doubt is for people.
    """
    comment = shortened(text, 1024)
    if comment:
        group[0].ContentSequence.append(
            sr.TextContentItem(
                name=COMMENT, value=comment, relationship_type=sr.RelationshipTypeValues.CONTAINS
            )
        )
    return group


def assembled(
    header: ResultHeader,
    groups: Sequence[Group],
    images: Iterable[SourceFrame] = (),
    segmentation: WrittenResult | None = None,
) -> Dataset:
    """The whole document (TID 1500): `groups`, which refer to `images` of the source or to segments
    of `segmentation`, and the source's own evidence, patient and study.
    """
    evidence = [_stand_in_of(header, image) for image in images] or [header.stand_in()]
    if segmentation is not None:
        evidence.append(_evidence(header, segmentation))
    document = sr.EnhancedSR(
        evidence=evidence,
        content=sr.MeasurementReport(
            observation_context=sr.ObservationContext(observer_device_context=_observer()),
            procedure_reported=PROCEDURE_OF_MODALITY.get(header.volume.modality, ANY_PROCEDURE),
            imaging_measurements=groups,
            title=codes.DCM.ImagingMeasurementReport,
        ),
        is_complete=True,
        is_final=False,
        is_verified=False,
        **header.arguments(),
    )
    _refer_to_source(document, header, segmentation)
    header.finish(document)
    return document


def tracking_of(header: ResultHeader, tracking_id: str) -> sr.TrackingIdentifier:
    """The same identifier and UID as the segment has in the SEG."""
    return sr.TrackingIdentifier(
        uid=tracking_uid(header.identity, tracking_id), identifier=shortened(tracking_id, 64)
    )


def sites_of(structure: ResultSegment | UndrawnFinding) -> list[sr.FindingSite]:
    """Where: the region of a finding, else the structure itself, left or right (CID 244)."""
    site = site_of(structure)
    if site is None:
        return []
    side = site.laterality
    return [
        sr.FindingSite(
            anatomic_location=sr_code(site.type), laterality=None if side is None else sr_code(side)
        )
    ]


def algorithm_of(algorithm: Algorithm) -> sr.AlgorithmIdentification:
    """TID 4019, with the digests of weights, settings and prompts as parameters."""
    return sr.AlgorithmIdentification(
        name=shortened(algorithm.name, 64),
        version=shortened(algorithm.version, 64),
        parameters=[f"{of} SHA-256 {digest}" for of, digest in algorithm.parameters] or None,
    )


def _observer() -> sr.ObserverContext:
    """Segnode as the observing device (TID 1004).

    Its UID names the implementation, not the machine.
    """
    return sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=IMPLEMENTATION_CLASS_UID,
            name=MODEL_NAME,
            manufacturer_name=MANUFACTURER,
            model_name=MODEL_NAME,
            serial_number=software_version(),
        ),
    )


def _stand_in_of(header: ResultHeader, image: SourceFrame) -> Dataset:
    """The stand-in under the UIDs of an image that a group refers to."""
    stand_in = header.stand_in()
    stand_in.SOPClassUID, stand_in.SOPInstanceUID = image.sop_class_uid, image.sop_instance_uid
    return stand_in


def _evidence(header: ResultHeader, segmentation: WrittenResult) -> Dataset:
    """As much of the SEG as evidence needs."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = segmentation.sop_class_uid, segmentation.sop_instance_uid
    ds.SeriesInstanceUID = segmentation.series_instance_uid
    ds.StudyInstanceUID = header.volume.study_instance_uid
    return ds


def _refer_to_source(
    document: Dataset, header: ResultHeader, segmentation: WrittenResult | None
) -> None:
    """Evidence (PS3.3 table C.17-3): every instance of the source series, and the SEG."""
    source = Dataset()
    source.SeriesInstanceUID = header.volume.series_instance_uid
    source.ReferencedSOPSequence = header.source_references()
    series = [source]
    if segmentation is not None:
        seg = Dataset()
        seg.SeriesInstanceUID = segmentation.series_instance_uid
        seg.ReferencedSOPSequence = [
            reference(segmentation.sop_class_uid, segmentation.sop_instance_uid)
        ]
        series.append(seg)
    study = Dataset()
    study.StudyInstanceUID = header.volume.study_instance_uid
    study.ReferencedSeriesSequence = series
    document.CurrentRequestedProcedureEvidenceSequence = [study]


def rounded(value: float) -> float:
    """Rounded to a thousandth; below 1 to six digits, as PET has values of any size."""
    return round(value, 3) if abs(value) >= 1 else float(f"{value:.6g}")
