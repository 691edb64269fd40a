"""What SEG and SR share: equipment, algorithm, sources, patient, study, dates and names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from highdicom import AlgorithmIdentificationSequence, ContributingEquipment
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as SrCode
from pydicom.uid import (
    UID,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pydicom.valuerep import format_number_as_ds

from dicom_node.datasets.dataset_files import read_dataset
from dicom_node.datasets.source_planes import Planes, decimal_strings, numbers
from dicom_node.identity import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    MANUFACTURER,
)
from dicom_node.results.patient_study import copy_patient_and_study
from dicom_node.results.timezones import offset_text, zone_of
from dicom_node.results.uids import device_uid, result_uid
from dicom_node.values import (
    Algorithm,
    Code,
    ResultContent,
    ResultIdentity,
    ResultKind,
    SourceVolume,
)

MODEL_NAME = "Segnode"
_LONGEST_LO = 64  # characters, PS3.5 table 6.2-1

# The SOP Instance UID of what highdicom builds on; it never reaches a file
STAND_IN_UID = f"{IMPLEMENTATION_CLASS_UID}.1"

# Attributes that highdicom requires of a source; the real source's replace them
_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)

# Results stand behind the images of the same study: series 4 gives 4010 for SEG and 4020 for SR of
# the first request, 4011 and 4021 of the second, 4110 and 4120 of the eleventh, as far as 4999
_MOST_NUMBERED = 99
_SERIES_NUMBER = {kind: 10 * place for place, kind in enumerate(ResultKind, start=1)}
_SHORT_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


def software_version() -> str:
    """The installed version of Segnode, at most 64 characters."""
    try:
        return version("segnode")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"


@dataclass(frozen=True, eq=False)
class ResultHeader:
    """Everything about a result but its content.

    `source` is the header of the volume's first slice, `title` a name of the content for people,
    such as "liver, spleen"; `for_review` whether any of it is in doubt.
    """

    kind: ResultKind
    title: str
    volume: SourceVolume
    source: Dataset
    algorithm: Algorithm
    identity: ResultIdentity
    for_review: bool = False

    @classmethod
    def of(cls, kind: ResultKind, title: str, content: ResultContent) -> ResultHeader:
        """The header of an object of `kind` that says `content`. OSError when a source is gone."""
        source = source_header(content.volume)
        for_review = any(segment.for_review for segment in content.segments)
        return cls(
            kind, title, content.volume, source, content.algorithm, content.identity, for_review
        )

    @property
    def sop_instance_uid(self) -> str:
        """Derived from request and study version."""
        return result_uid(self.identity, f"{self.kind} instance")

    @property
    def series_instance_uid(self) -> str:
        """Derived from request and study version; each result is a series of its own."""
        return result_uid(self.identity, f"{self.kind} series")

    @property
    def series_description(self) -> str:
        """Such as "AI SEG liver, spleen - segnode litemedsam - on S4", at most 64 characters; of
        the second request on a study "... - on S4, result 2".

        A result in doubt says so first: "AI SEG for review: liver, spleen - on S4".
        """
        # a reader who looks for the series needs the structures more than the model
        review = "for review: " if self.for_review else ""
        head, place = f"AI {self.kind} {review}", f" - on S{_series_number(self.source)}"
        if self.identity.ordinal:
            place += f", result {self.identity.ordinal + 1}"
        tail = f" - segnode {self.algorithm.name}{place}"
        if len(head) + len(self.title) + len(tail) > _LONGEST_LO:
            tail = place
        return head + shortened(self.title, _LONGEST_LO - len(head) - len(tail)) + tail

    @property
    def series_number(self) -> int:
        """1000 times the source's series number plus ten for each kind up to its own (the SEG's
        10, the SR's 20), and more for each request before on the study (up to a hundred);
        within IS.
        """
        number = _series_number(self.source)
        tens, ones = divmod(min(self.identity.ordinal, _MOST_NUMBERED), 10)
        place = 100 * tens + _SERIES_NUMBER[self.kind] + ones
        return (number if 0 < number < 1_000_000 else 0) * 1000 + place

    @property
    def made_at(self) -> datetime:
        """The result's date: the request's time if known, so a re-run gives the same bytes.

        It is in the zone of the result's other times, else in local time.
        """
        moment = self.identity.requested_at or datetime.now().astimezone()
        return moment.astimezone(zone_of(self.source))

    def stand_in(self) -> Dataset:
        """A legal header for highdicom to build on, whatever the source is.

        highdicom refuses sources with illegal values, unknown SOP classes or several orientations,
        all of which occur in clinics. It builds on this instead; the source's own attributes are
        put in afterwards.
        """
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = EnhancedCTImageStorage, STAND_IN_UID
        ds.StudyInstanceUID = self.volume.study_instance_uid
        ds.SeriesInstanceUID = self.volume.series_instance_uid
        if self.volume.frame_of_reference_uid:
            ds.FrameOfReferenceUID = self.volume.frame_of_reference_uid
        ds.Modality = self.volume.modality
        for keyword in _EMPTY:
            setattr(ds, keyword, "")
        return ds

    def stand_in_on_grid(self, planes: Planes, first: int, last: int) -> Dataset:
        """The stand-in as one multi-frame image: frame n is slice `first` + n - 1, up to `last`.

        A frame has one pixel: highdicom only arranges frames, and does not fill them.
        """
        ds = self.stand_in()
        ds.Rows = ds.Columns = 1
        _copy_lossiness(self.source, ds)
        ds.NumberOfFrames = last - first + 1
        ds.SharedFunctionalGroupsSequence = [_shared_groups(planes)]
        ds.PerFrameFunctionalGroupsSequence = [
            _frame_groups(planes.positions[z]) for z in range(first, last + 1)
        ]
        return ds

    def stand_in_for_single_image(self) -> Dataset:
        """The stand-in as one image of one pixel without a position.

        Its class is one that highdicom takes for any such image.
        """
        ds = self.stand_in()
        ds.SOPClassUID = SecondaryCaptureImageStorage
        ds.Rows = ds.Columns = 1
        _copy_lossiness(self.source, ds)
        return ds

    def arguments(self) -> dict[str, Any]:
        """The arguments that highdicom's constructors of SEG and SR share."""
        return {
            "series_instance_uid": self.series_instance_uid,
            "series_number": self.series_number,
            "sop_instance_uid": self.sop_instance_uid,
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": MODEL_NAME,
            "software_versions": software_version(),
            # Type 1 in Enhanced General Equipment (PS3.3 C.7.5.2), and the same on every machine of
            # one installation
            "device_serial_number": f"segnode-{software_version()}",
            "series_description": self.series_description,
            "content_date": self.made_at.date(),
            "content_time": self.made_at.time().replace(microsecond=0),
        }

    def finish(self, result: Dataset) -> None:
        """Put in the source's and our own: patient, study, dates, file meta information."""
        # pydicom does not do this where raw elements are written as they are
        correct_ambiguous_vr(result, True)
        copy_patient_and_study(self.source, result)
        result.InstanceCreationDate, result.InstanceCreationTime = (
            result.ContentDate,
            result.ContentTime,
        )
        result.SeriesDate, result.SeriesTime = result.ContentDate, result.ContentTime
        zone = zone_of(self.source)
        if zone is not None:
            result.TimezoneOffsetFromUTC = offset_text(zone)
        # highdicom's own entry would carry the time of day
        result.ContributingEquipmentSequence = [self._model_equipment()]
        result.file_meta = FileMetaDataset()
        result.file_meta.MediaStorageSOPClassUID = result.SOPClassUID
        result.file_meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
        result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        result.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
        result.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME

    def source_references(self) -> list[Dataset]:
        """One item an instance of the source series, in the volume's order (PS3.3 table 10-11)."""
        unique = {frame.sop_instance_uid: frame.sop_class_uid for frame in self.volume.frames}
        return [reference(sop_class, instance) for instance, sop_class in unique.items()]

    def _model_equipment(self) -> ContributingEquipment:
        """The model that drew, with the digests of its weights, settings and prompts (PS3.3
        C.12.1.1.5), and a Device UID that changes with any of them.
        """
        hashes = ", ".join(f"SHA-256 {value}" for value in self.algorithm.weights_sha256)
        others = [
            f"; {of}: SHA-256 {digest}"
            for of, digest in self.algorithm.parameters
            if of != "weights"
        ]
        equipment = ContributingEquipment(
            manufacturer=MANUFACTURER,
            purpose_of_reference=codes.DCM.ProcessingEquipment,
            manufacturer_model_name=shortened(self.algorithm.name, _LONGEST_LO),
            software_versions=shortened(self.algorithm.version, _LONGEST_LO),
            contribution_description=shortened(
                f"Segmentation; weights: {hashes or 'none'}{''.join(others)}", 1024
            ),
        )
        equipment.DeviceUID = device_uid(self.algorithm)
        return equipment


def source_header(volume: SourceVolume) -> Dataset:
    """The header of the volume's first slice, without pixels. OSError when the file is gone."""
    return read_dataset(volume.frames[0].path)


def shortened(text: str, room: int) -> str:
    """`text` in printable ASCII without accents, cut to `room` characters (marked by "...").

    ASCII because the result is written in the source's character set, which may lack other letters.
    """
    bare = "".join(
        letter
        for letter in unicodedata.normalize("NFKD", text)
        if not unicodedata.combining(letter)
    )
    plain = "".join(
        letter if " " <= letter <= "~" and letter != "\\" else "?" for letter in bare
    ).strip()
    return plain if len(plain) <= room else plain[: room - 3].rstrip() + "..."


def sr_code(code: Code) -> SrCode:
    """A coded concept as highdicom takes it.

    Meanings are at most 64 characters (PS3.3 table 8.8-1a).
    """
    return SrCode(code.value, code.scheme, shortened(code.meaning, _LONGEST_LO))


def algorithm_identification(algorithm: Algorithm) -> AlgorithmIdentificationSequence:
    """PS3.3 table 10-19: name, version, and family "Artificial Intelligence" (CID 7162)."""
    parameters: dict[str, str] = {}
    for of, digest in algorithm.parameters:
        key = f"{of}_sha256"
        parameters[key] = ", ".join(filter(None, (parameters.get(key), digest)))
    return AlgorithmIdentificationSequence(
        name=shortened(algorithm.name, _LONGEST_LO),
        family=codes.DCM.ArtificialIntelligence,
        version=shortened(algorithm.version, _LONGEST_LO),
        parameters=parameters or None,
    )


def titled(labels: Iterable[str]) -> str:
    """Labels as one title."""
    return ", ".join(labels)


def _series_number(source: Dataset) -> int:
    """The source's Series Number; 0 where it is missing, no integer or too large to add to.

    It is read from its bytes: pydicom raises several errors on texts that are no numbers.
    """
    element = source.get_item("SeriesNumber")
    value = None if element is None else element.value
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    number = _SHORT_INTEGER.fullmatch(text.strip(" \0"))
    return int(number[0]) if number else 0


def reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """An item of the SOP Instance Reference macro (PS3.3 table 10-11)."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _copy_lossiness(source: Dataset, ds: Dataset) -> None:
    """Mark results on lossy images, with legal ratios and methods (PS3.3 C.7.6.1.1.5)."""
    if str(source.get("LossyImageCompression")) != "01":
        return
    ds.LossyImageCompression = "01"
    ratios = [
        part
        for part in decimal_strings(source, "LossyImageCompressionRatio")
        if numbers([part], 1) is not None
    ]
    if ratios:
        ds.LossyImageCompressionRatio = [format_number_as_ds(float(ratio)) for ratio in ratios]
    if source.get("LossyImageCompressionMethod"):
        ds.LossyImageCompressionMethod = source.LossyImageCompressionMethod


def _shared_groups(planes: Planes) -> Dataset:
    """Orientation and spacing of all frames (PS3.3 C.7.6.16.2.1 and .4)."""
    orientation, measures, groups = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = list(planes.orientation)
    measures.PixelSpacing = list(planes.pixel_spacing_mm)
    measures.SliceThickness = planes.slice_thickness_mm
    groups.PlaneOrientationSequence = [orientation]
    groups.PixelMeasuresSequence = [measures]
    return groups


def _frame_groups(position: Sequence[str]) -> Dataset:
    """Position of a frame (PS3.3 C.7.6.16.2.3)."""
    place, groups = Dataset(), Dataset()
    place.ImagePositionPatient = list(position)
    groups.PlanePositionSequence = [place]
    return groups
