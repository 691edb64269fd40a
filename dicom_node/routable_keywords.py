"""What of an instance a route may match on: no attribute that names a person."""

from __future__ import annotations

ROUTABLE_KEYWORDS: tuple[str, ...] = (
    "AccessionNumber",
    "AcquisitionDate", "AcquisitionNumber", "AcquisitionProtocolName", "AcquisitionTime",
    "AcquisitionType", "AnatomicalOrientationType", "BitsAllocated", "BitsStored",
    "BodyPartExamined", "BurnedInAnnotation", "Columns", "ContentDate", "ContrastBolusAgent",
    "ConversionType", "ConvolutionKernel", "DeviceSerialNumber", "DiffusionBValue",
    "EchoNumbers", "EchoTime", "ExposureTime", "FilterType", "GantryDetectorTilt",
    "ImageComments", "ImageType", "InstanceCreationDate", "InstitutionalDepartmentName",
    "InstitutionName", "KVP", "Laterality", "LossyImageCompression", "MagneticFieldStrength",
    "Manufacturer", "ManufacturerModelName", "Modality", "NumberOfFrames", "PatientAge",
    "PatientPosition", "PatientSex", "PerformedProcedureStepDescription",
    "PhotometricInterpretation", "PixelRepresentation", "ProtocolName",
    "ReconstructionDiameter", "RepetitionTime", "RequestedProcedureDescription", "RescaleType",
    "Rows", "SamplesPerPixel", "ScanningSequence", "ScanOptions", "SequenceName",
    "SequenceVariant", "SeriesDate", "SeriesDescription", "SeriesNumber", "SliceThickness",
    "SoftwareVersions", "SOPClassUID", "SpacingBetweenSlices", "SpecificCharacterSet",
    "StationName", "StudyDate", "StudyDescription", "StudyID", "ViewPosition",
)  # fmt: skip
"""DICOM keywords (PS3.6), in the order of the alphabet."""
