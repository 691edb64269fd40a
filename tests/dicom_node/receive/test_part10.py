"""Files carry a file meta that other readers read, and that we read without the rest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicom_node.errors import UnreadableDataset
from dicom_node.receive.part10 import FileMeta, encode_head, read_meta

DIGEST = hashlib.sha256(b"").hexdigest()


def meta(**changes: str) -> FileMeta:
    values = {
        "sop_class_uid": CTImageStorage,
        "sop_instance_uid": "1.2.3",
        "transfer_syntax_uid": ExplicitVRLittleEndian,
        "sha256": DIGEST,
        "calling_ae_title": "MODALITY",
        "called_ae_title": "SEGNODE",
    }
    return FileMeta(**{**values, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sop_instance_uid": "1.2.34"},  # odd and even lengths are padded differently
        {"calling_ae_title": "", "called_ae_title": ""},
        {"calling_ae_title": "ODD"},
        {"transfer_syntax_uid": "1.2.840.10008.1.2.4.90"},
    ],
)
def test_what_is_written_is_read(tmp_path: Path, changes: dict[str, str]) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(encode_head(meta(**changes)))

    assert read_meta(path) == meta(**changes)


def test_pydicom_reads_the_file_meta(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(encode_head(meta()) + b"\x08\x00\x60\x00CS\x02\x00CT")

    dataset = dcmread(path)

    assert dataset.Modality == "CT"
    assert dataset.file_meta.FileMetaInformationVersion == b"\x00\x01"
    assert dataset.file_meta.MediaStorageSOPClassUID == CTImageStorage
    assert dataset.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert dataset.file_meta.SourceApplicationEntityTitle == "MODALITY"
    assert dataset.file_meta.SendingApplicationEntityTitle == "MODALITY"
    assert dataset.file_meta.ReceivingApplicationEntityTitle == "SEGNODE"
    assert dataset.file_meta.PrivateInformation.hex() == DIGEST


def test_a_file_that_someone_else_wrote_is_hashed(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    body = path.read_bytes()[-(8 + 26 + 8 + 6) :]

    assert read_meta(path).sha256 == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("content", [b"", b"DICM", bytes(200), b"\x89PNG" * 100])
def test_what_is_no_such_file_is_unreadable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(content)

    with pytest.raises(UnreadableDataset):
        read_meta(path)
