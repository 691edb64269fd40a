"""Patient and study of a result are the source's own, byte for byte where they can be."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom import DataElement, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SegmentationStorage,
    generate_uid,
)

from dicom_node.results.patient_study import copy_patient_and_study


def written(ds: Dataset, syntax: UID = ExplicitVRLittleEndian) -> Dataset:
    """The data set as it is read from a file."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    file = BytesIO()
    ds.save_as(file, enforce_file_format=True)
    file.seek(0)
    return dcmread(file)


def patient(**elements: object) -> Dataset:
    ds = Dataset()
    ds.PatientName, ds.PatientID = "Doe^Jane", "P1"
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def copied(source: Dataset, result: Dataset | None = None) -> Dataset:
    """What a reader of the result sees."""
    result = Dataset() if result is None else result
    copy_patient_and_study(source, result)
    return written(result)


def test_what_the_source_says_is_said_and_the_rest_is_empty() -> None:
    result = copied(written(patient(StudyDate="20260102", PatientSex="F")))

    assert (result.PatientName, result.PatientID) == ("Doe^Jane", "P1")
    assert (result.StudyDate, result.PatientSex) == ("20260102", "F")
    # type 2: there, and empty
    assert result["AccessionNumber"].is_empty
    assert result["ReferringPhysicianName"].is_empty
    assert "PatientAge" not in result


def test_what_the_result_said_before_is_gone() -> None:
    before = patient(PatientAge="030Y", OtherPatientIDs="X", StudyDescription="another")
    before.SpecificCharacterSet = "ISO_IR 100"

    result = copied(written(patient()), before)

    assert "PatientAge" not in result
    assert "StudyDescription" not in result
    assert "SpecificCharacterSet" not in result


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_a_name_keeps_its_bytes_and_its_characters(syntax: UID) -> None:
    name = "Müller^Jürgen"
    source = written(patient(SpecificCharacterSet="ISO_IR 100", PatientName=name), syntax)

    result = copied(source)

    assert result.PatientName == name
    assert result.SpecificCharacterSet == "ISO_IR 100"


def test_text_that_nobody_can_decode_is_carried_as_it_is() -> None:
    source = written(patient(PatientName="Doe^Jane"))
    element = source.get_item("PatientName")
    assert isinstance(element, RawDataElement)
    source["PatientName"] = element._replace(value=b"\x81\x8d^X ", length=6)

    result = Dataset()
    copy_patient_and_study(source, result)
    file = BytesIO()
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    result.save_as(file)

    assert b"\x81\x8d^X " in file.getvalue()


def test_numbers_of_another_byte_order_keep_their_value() -> None:
    source = written(patient(PregnancyStatus=4), ExplicitVRBigEndian)

    assert copied(source).PregnancyStatus == 4


def test_a_sequence_that_cannot_be_written_is_left_out() -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-D4000", "SRT", "Abdomen"
    source = written(patient(ProcedureCodeSequence=[code]))
    assert copied(source).ProcedureCodeSequence[0].CodeValue == "T-D4000"

    # a number where text belongs
    age = DataElement(0x00101010, "AS", 30, validation_mode=pydicom.config.IGNORE)
    source.ProcedureCodeSequence[0].add(age)

    assert "ProcedureCodeSequence" not in copied(source)


def test_the_source_is_not_changed(tmp_path: Path) -> None:
    source = written(patient(PatientSex="F"))
    before = source.to_json()

    copy_patient_and_study(source, Dataset())

    assert source.to_json() == before
