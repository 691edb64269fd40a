"""The source's patient and study attributes, copied into a result byte for byte.

A PACS files results by these attributes and a viewer shows them beside the images: a name that was
decoded and encoded again may come back changed, and an illegal value must not stop a result.
So strings are copied as raw bytes, together with the Specific Character Set they are written in.
"""

from __future__ import annotations

from io import BytesIO

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_data_element
from pydicom.tag import BaseTag, Tag

# PS3.3 C.7.1.1 Patient, C.7.1.3 Clinical Trial Subject
_PATIENT = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "EthnicGroup",
    "PatientComments",
    "PatientSpeciesDescription",
    "PatientBreedDescription",
    "ResponsiblePerson",
    "ResponsibleOrganization",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "QualityControlSubject",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
)

# PS3.3 C.7.2.1 General Study, C.7.2.2 Patient Study, C.7.2.3 Clinical Trial Study
_STUDY = (
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "StudyDescription",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "ReferencedStudySequence",
    "ProcedureCodeSequence",
    "AdmittingDiagnosesDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PregnancyStatus",
    "PatientSexNeutered",
    "AdditionalPatientHistory",
    "AdmissionID",
    "Occupation",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
)

# Type 2 in both modules: present even where the source lacks them
_ALWAYS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)

# What is binary in the file depends on the source's byte order; everything else in these modules is
# text
_BINARY_VR = frozenset({"US", "SS", "UL", "SL", "FL", "FD"})


def copy_patient_and_study(source: Dataset, result: Dataset) -> None:
    """Replace patient and study of `result` by those of `source`, a header just read.

    `result` will be written in Explicit VR Little Endian and is marked so that its raw elements are
    written as they are. Type 2 attributes that the source lacks become empty; a sequence that
    cannot be written is left out.
    """
    _copy_character_set(source, result)
    for keyword in (*_PATIENT, *_STUDY):
        tag = Tag(keyword)
        if tag in result:
            del result[tag]
        element = _carried(source, tag) if tag in source else None
        if element is not None:
            result[tag] = element
        elif keyword in _ALWAYS:
            result[tag] = DataElement(tag, dictionary_VR(tag), None)
    # Only then does pydicom write raw elements without decoding them first
    result.set_original_encoding(False, True, result._character_set)  # noqa: SLF001  # what pydicom compares it with


def _copy_character_set(source: Dataset, result: Dataset) -> None:
    """Copy (0008,0005); where the source has none, ASCII holds (PS3.3 C.12.1.1.2)."""
    if "SpecificCharacterSet" in result:
        del result.SpecificCharacterSet
    stated = source.get("SpecificCharacterSet")
    if stated:
        result.SpecificCharacterSet = stated


def _carried(source: Dataset, tag: BaseTag) -> DataElement | RawDataElement | None:
    """The element as Explicit VR Little Endian can hold it, or None where it cannot."""
    vr = dictionary_VR(tag)
    raw = source.get_item(tag)
    if vr == "SQ" or vr in _BINARY_VR or not isinstance(raw, RawDataElement):
        return _decoded(source, tag)
    value = raw.value or b""
    return RawDataElement(tag, vr, len(value), value, 0, False, True)


def _decoded(source: Dataset, tag: BaseTag) -> DataElement | None:
    """The decoded element, None if it cannot be encoded again."""
    trial = DicomFileLike(BytesIO())
    trial.is_little_endian, trial.is_implicit_VR = True, False
    try:
        element = source[tag]
        write_data_element(trial, element, source.get("SpecificCharacterSet") or "iso8859")
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
        NotImplementedError,
        EOFError,
    ):
        return None
    return element
