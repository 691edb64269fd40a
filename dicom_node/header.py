"""What choosing and sorting need to know of an instance, read tolerantly from its file, long after the peer was answered.

A value that cannot be read is left out and named in `faults`; only a file that is no DICOM at all is refused.
"""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.errors import UnreadableDataset
from dicom_node.patients import patient_digests
from dicom_node.values import InstanceHeader

# What routes and rules may match on. None of them names the patient.
ROUTABLE_KEYWORDS: tuple[str, ...] = (
    "AcquisitionDate", "AcquisitionNumber", "AcquisitionProtocolName", "AcquisitionTime", "AcquisitionType",
    "AnatomicalOrientationType", "BitsAllocated", "BitsStored", "BodyPartExamined", "BurnedInAnnotation",
    "Columns", "ContentDate", "ContrastBolusAgent", "ConversionType", "ConvolutionKernel", "DeviceSerialNumber",
    "DiffusionBValue", "EchoNumbers", "EchoTime", "ExposureTime", "FilterType", "GantryDetectorTilt",
    "ImageComments", "ImageType", "InstanceCreationDate", "InstitutionalDepartmentName", "InstitutionName", "KVP",
    "Laterality", "LossyImageCompression", "MagneticFieldStrength", "Manufacturer", "ManufacturerModelName",
    "Modality", "NumberOfFrames", "PatientAge", "PatientPosition", "PatientSex", "PerformedProcedureStepDescription",
    "PhotometricInterpretation", "PixelRepresentation", "ProtocolName", "ReconstructionDiameter", "RepetitionTime",
    "RequestedProcedureDescription", "RescaleType", "Rows", "SamplesPerPixel", "ScanningSequence", "ScanOptions",
    "SequenceName", "SequenceVariant", "SeriesDate", "SeriesDescription", "SeriesNumber", "SliceThickness",
    "SoftwareVersions", "SOPClassUID", "SpacingBetweenSlices", "SpecificCharacterSet", "StationName", "StudyDate",
    "StudyDescription", "StudyID", "ViewPosition",
)  # fmt: skip

# What may tell images at one position apart (dicom_node.image_sets)
SET_KEYWORDS: tuple[str, ...] = (
    "AcquisitionDateTime", "AcquisitionTime", "CardiacCyclePosition", "ComplexImageComponent", "ContentDate", "ContentTime",
    "ConvolutionKernel", "DiffusionBValue", "DiffusionDirectionality", "DiffusionGradientOrientation", "EchoNumbers", "EchoTime",
    "FlipAngle", "FrameReferenceTime", "ImageComments", "InversionTime", "KVP", "NominalPercentageOfCardiacPhase",
    "NominalPercentageOfRespiratoryPhase", "SeriesDescription", "SliceLocation", "SpacingBetweenSlices", "StackID",
    "TemporalPositionIndex", "TriggerTime",
)  # fmt: skip

# What pydicom raises on bytes that are no DICOM, or no longer (found by feeding it such)
_PARSE_ERRORS = (
    InvalidDicomError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
_GIVEAWAYS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "Rows",
)


def read_header(path: Path) -> InstanceHeader:
    """Read a DICOM file's header, without its pixels, with or without file meta information.

    Multi-frame objects give the orientation, spacing and thickness that their functional groups share, or those of their
    first frame (PS3.3 C.7.6.16); their positions stay there. Raises UnreadableDataset for a file that is no DICOM.
    """
    # pydicom warns of every odd value; here they are faults of the file, not ours
    with warnings.catch_warnings(action="ignore"):
        return _Reader(path, _parsed(path)).header()


def _parsed(path: Path) -> Dataset:
    """The data set up to the pixels; UnreadableDataset when there is none."""
    try:
        dataset = dcmread(path, stop_before_pixels=True, force=True)
        known = any(keyword in dataset for keyword in _GIVEAWAYS)
    except FileNotFoundError:
        raise
    except _PARSE_ERRORS as error:
        raise UnreadableDataset(f"{path.name} cannot be read as DICOM") from error
    if not known and not getattr(dataset, "file_meta", None):
        raise UnreadableDataset(f"{path.name} is no DICOM file")
    return dataset


def _guessed_syntax(dataset: Dataset) -> str:
    """The uncompressed transfer syntax that pydicom found a file without file meta to be written in."""
    implicit, little = dataset.original_encoding
    if implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if little else ExplicitVRBigEndian)


class _Reader:
    """One file's values, and the names of those that could not be read."""

    def __init__(self, path: Path, dataset: Dataset) -> None:
        self._path, self._dataset = path, dataset
        self._groups: list[Dataset] = []
        self._faults: list[str] = []

    def header(self) -> InstanceHeader:
        """Everything, in the shape the other modules know."""
        frames = self._integer("NumberOfFrames") or 1
        self._groups = list(self._functional_groups())
        return InstanceHeader(
            path=self._path,
            study_instance_uid=self._text("StudyInstanceUID"),
            series_instance_uid=self._text("SeriesInstanceUID"),
            sop_instance_uid=self._text("SOPInstanceUID")
            or self._meta_text("MediaStorageSOPInstanceUID"),
            sop_class_uid=self._text("SOPClassUID") or self._meta_text("MediaStorageSOPClassUID"),
            transfer_syntax_uid=self._meta_text("TransferSyntaxUID")
            or _guessed_syntax(self._dataset),
            modality=self._text("Modality"),
            image_type=self._texts("ImageType"),
            instance_number=self._integer("InstanceNumber"),
            series_number=self._integer("SeriesNumber"),
            series_description=self._text("SeriesDescription"),
            frame_of_reference_uid=self._text("FrameOfReferenceUID"),
            rows=self._integer("Rows"),
            columns=self._integer("Columns"),
            number_of_frames=max(frames, 1),
            image_position_mm=self._three("ImagePositionPatient"),
            image_orientation=self._six("ImageOrientationPatient"),
            pixel_spacing_mm=self._two("PixelSpacing"),
            slice_thickness_mm=self._number("SliceThickness"),
            acquisition_number=self._integer("AcquisitionNumber"),
            temporal_position=self._integer("TemporalPositionIdentifier"),
            gantry_tilt_deg=self._number("GantryDetectorTilt"),
            manufacturer=self._text("Manufacturer"),
            attributes=self._attributes(ROUTABLE_KEYWORDS),
            of_set=self._attributes(SET_KEYWORDS),
            patient=patient_digests(
                self._text("StudyInstanceUID"),
                identifier=self._text("PatientID"),
                issuer=self._text("IssuerOfPatientID"),
                name=self._text("PatientName"),
                birth_date=self._text("PatientBirthDate"),
            ),
            faults=tuple(dict.fromkeys(self._faults)),
        )

    def _meta_text(self, keyword: str) -> str:
        """A value of the file meta information, empty when it is missing or unreadable."""
        meta = getattr(self._dataset, "file_meta", None) or Dataset()
        try:
            return str(meta.get(keyword, ""))
        except _PARSE_ERRORS:
            self._faults.append(keyword)
            return ""

    def _functional_groups(self) -> Iterable[Dataset]:
        """The items that stand in for the image plane of an enhanced object, shared ones first."""
        for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
            for group in self._value(name)[:1]:
                for macro in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
                    yield from self._items(group, macro)[:1]

    def _items(self, group: Dataset, macro: str) -> Sequence[Dataset]:
        """The items of a macro within a functional group, none where it is missing or unreadable."""
        try:
            return group.get(macro) or []
        except _PARSE_ERRORS:
            self._faults.append(macro)
            return []

    def _value(self, keyword: str) -> Any:
        """The value, or an empty list when it is missing, empty or unreadable."""
        try:
            value = self._dataset.get(keyword)
            if value is None:
                value = next((g.get(keyword) for g in self._groups if keyword in g), None)
        except _PARSE_ERRORS:
            self._faults.append(keyword)
            return []
        return [] if value is None else value

    def _texts(self, keyword: str) -> tuple[str, ...]:
        """Every value as text, none where there is none."""
        value = self._value(keyword)
        several = isinstance(value, (MultiValue, list))
        return tuple(str(v).strip(" \0") for v in (value if several else [value]))

    def _text(self, keyword: str) -> str:
        """All values as one text, joined as DICOM joins them."""
        return "\\".join(self._texts(keyword))

    def _numbers(self, keyword: str, count: int | None = None) -> Sequence[float]:
        """Finite values; none, and a fault, where the file holds something else or another number of them."""
        try:
            values = [float(text) for text in self._texts(keyword) if text]
        except ValueError:
            values = [math.nan]
        if values and (count not in {None, len(values)} or not all(map(math.isfinite, values))):
            self._faults.append(keyword)
            return []
        return values

    def _number(self, keyword: str) -> float | None:
        return next(iter(self._numbers(keyword)), None)

    def _integer(self, keyword: str) -> int | None:
        number = self._number(keyword)
        return None if number is None else int(number)

    def _two(self, keyword: str) -> tuple[float, float] | None:
        values = self._numbers(keyword, 2)
        return (values[0], values[1]) if values else None

    def _three(self, keyword: str) -> tuple[float, float, float] | None:
        values = self._numbers(keyword, 3)
        return (values[0], values[1], values[2]) if values else None

    def _six(self, keyword: str) -> tuple[float, float, float, float, float, float] | None:
        values = self._numbers(keyword, 6)
        return (*values,) if values else None  # type: ignore[return-value]  # six of them, as _numbers has checked

    def _attributes(self, keywords: Sequence[str]) -> dict[str, str]:
        """These attributes as text; only what is there."""
        found = ((keyword, self._text(keyword)) for keyword in keywords)
        return {keyword: text for keyword, text in found if text}
