"""DICOM folders as a data set: each SEG or RTSTRUCT with the series it was drawn on is a case.

The series is made a volume exactly as for a request. What Segnode drew itself is no truth. What a
reader drew is one, and where Segnode drew the same structure in the same series it is a correction.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import RTStructureSetStorage, SegmentationStorage

from agent.case import Truth
from agent.values import Target
from dicom_node.annotations.annotated_structure import AnnotatedStructure, AnnotationHeader
from dicom_node.annotations.segmentation_masks import read_segmentation_header, read_segments
from dicom_node.annotations.structure_set import read_structure_set_header, read_structures
from dicom_node.datasets.dataset_files import read_dataset
from dicom_node.errors import DicomNodeError, UnreadableDataset
from dicom_node.reading_errors import quietly
from dicom_node.receive.part10 import has_preamble
from dicom_node.series.header import read_header
from dicom_node.sop_classes import IMAGES
from dicom_node.values import InstanceHeader, SourceVolume
from dicom_node.volume.volume import load_volume
from models.errors import UnreadableFile
from models.training.datasets.dataset import Contents, Entry, Listing, Skipped, Tell
from models.training.datasets.layout import DataLayout
from models.training.datasets.paths import files_below, inside, stem_of
from models.training.datasets.truths import truth_of_mask
from server.rules.catalogue import Catalogue
from server.study.source_files import agent_volume
from server.training.catalogue_targets import target_of_structure
from server.training.label_maps_beside import LABELS, label_maps, read_with_label_map

LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"  # PS3.6 table A-1, Label Map Segmentation
_SEGMENTATIONS = frozenset({str(SegmentationStorage), LABEL_MAP_SEGMENTATION})
_ANNOTATIONS = _SEGMENTATIONS | {str(RTStructureSetStorage)}
_PROBED_FILES = 200  # of a folder, before it is taken to hold no DICOM
_PATIENT_DIGITS = 16


@dataclass
class _Folder:
    """The instances of a folder: file names by series, annotations with what they belong to."""

    root: Path
    series: dict[str, list[tuple[str, InstanceHeader]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    annotations: list[tuple[str, InstanceHeader]] = field(default_factory=list)
    faults: list[Skipped] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, header: InstanceHeader) -> None:
        """Take an instance in; a second file of it is named and left out."""
        if header.sop_class_uid not in _ANNOTATIONS | IMAGES:
            return
        first = self._names.setdefault(header.sop_instance_uid or name, name)
        if first != name:
            self.faults.append(Skipped(name, f"it is the instance that {first} is."))
        elif header.sop_class_uid in _ANNOTATIONS:
            self.annotations.append((name, header))
        else:
            self.series[header.series_instance_uid].append((name, header))


def dicom_layout(catalogue: Catalogue) -> DataLayout:
    """DICOM folders as a layout; structures are named as `catalogue` names them."""
    return DataLayout(
        "dicom",
        "DICOM images with the SEG or RTSTRUCT that readers drew on them",
        holds_dicom,
        partial(_listing, catalogue=catalogue),
    )


def holds_dicom(folder: Path) -> bool:
    """Whether one of the first files of `folder` is DICOM."""
    if not folder.is_dir():
        return False
    for number, name in enumerate(files_below(folder, ("",))):
        if number >= _PROBED_FILES:
            return False
        try:
            if has_preamble(inside(folder, name)):
                return True
        except (OSError, UnreadableFile):
            continue
    return False


def _listing(root: Path, catalogue: Catalogue) -> Listing:
    folder = _read_folder(root)
    drawn = list(_drawings(folder))
    own: defaultdict[str, list[str]] = defaultdict(list)
    for drawing in drawn:
        if drawing.header.by_segnode and drawing.sop_class_uid in _SEGMENTATIONS:
            own[drawing.header.series_instance_uid].append(drawing.file)
    entries = []
    patients_known = True
    for drawing in drawn:
        try:
            images = _images_of(drawing.header, folder)
        except UnreadableFile as fault:
            folder.faults.append(Skipped(drawing.file, _reason(fault), _case_id(drawing.file)))
            continue
        patient = _patient(root / drawing.file)
        patients_known &= bool(patient)
        names = tuple(image for image, _ in images)
        ours = tuple(own[images[0][1].series_instance_uid])
        read = partial(_read, root, names, drawing.file, ours, catalogue)
        unit = patient or drawing.study_instance_uid
        entries.append(Entry(_case_id(drawing.file), unit, (*names, *ours, drawing.file), read))
    entries += _label_map_entries(folder, catalogue)
    indices = tuple(files_below(root, (LABELS,)))
    return Listing(root.name, entries, tuple(folder.faults), patients_known, indices)


@dataclass(frozen=True)
class _Drawing:
    """A SEG or RTSTRUCT of the folder and what its header says."""

    file: str
    sop_class_uid: str
    study_instance_uid: str
    header: AnnotationHeader


def _drawings(folder: _Folder) -> Iterator[_Drawing]:
    """All that was drawn; what cannot be read is named."""
    for name, header in folder.annotations:
        try:
            annotation = _annotation_header(inside(folder.root, name), header)
        except (DicomNodeError, UnreadableFile) as fault:
            folder.faults.append(Skipped(name, _reason(fault), _case_id(name)))
        else:
            yield _Drawing(name, header.sop_class_uid, header.study_instance_uid, annotation)


def _label_map_entries(folder: _Folder, catalogue: Catalogue) -> Iterator[Entry]:
    """A case for every label map beside the only series of the folder."""
    series = [images for uid, images in folder.series.items() if uid]
    for name in label_maps(folder.root):
        if len(series) != 1:
            reason = f"the folder holds {len(series)} series, and nothing says which it belongs to."
            folder.faults.append(Skipped(name, reason, stem_of(name)))
            continue
        images = [image for image, _ in series[0]]
        files = (*images, name)
        read = partial(read_with_label_map, folder.root, images, name, catalogue)
        first = series[0][0]
        unit = _patient(folder.root / first[0]) or first[1].study_instance_uid
        yield Entry(stem_of(name), unit, files, read)


def _read_folder(root: Path) -> _Folder:
    """The headers of all DICOM files; damaged ones are named, other files are none of ours."""
    folder = _Folder(root)
    for name in files_below(root, ("",)):
        try:
            path = inside(root, name)
            header = read_header(path)
        except UnreadableFile as fault:
            folder.faults.append(Skipped(name, fault.reason))
        except (UnreadableDataset, OSError) as fault:
            if _looks_like_dicom(root / name):
                folder.faults.append(Skipped(name, _reason(fault)))
        else:
            folder.add(name, header)
    return folder


def _looks_like_dicom(path: Path) -> bool:
    try:
        return has_preamble(path)
    except OSError:
        return False


def _annotation_header(path: Path, header: InstanceHeader) -> AnnotationHeader:
    segmentation = header.sop_class_uid in _SEGMENTATIONS
    return (read_segmentation_header if segmentation else read_structure_set_header)(path)


def _images_of(
    annotation: AnnotationHeader, folder: _Folder
) -> Sequence[tuple[str, InstanceHeader]]:
    """The images that it was drawn on: of the series it names, else of the only one in its frame
    of reference.
    """
    where = Path(annotation.sop_instance_uid)
    if annotation.by_segnode:
        raise UnreadableFile(where, "Segnode drew it itself; what a reader drew is a truth.")
    if annotation.series_instance_uid in folder.series:
        return folder.series[annotation.series_instance_uid]
    fitting = [
        images
        for images in folder.series.values()
        if images[0][1].frame_of_reference_uid == annotation.frame_of_reference_uid
    ]
    if annotation.series_instance_uid or len(fitting) != 1:
        named = annotation.series_instance_uid or "one series"
        raise UnreadableFile(where, f"the images of {named}, on which it was drawn, are not here.")
    return fitting[0]


def _read(
    root: Path,
    images: tuple[str, ...],
    annotation: str,
    ours: tuple[str, ...],
    catalogue: Catalogue,
    tell: Tell,
) -> Contents:
    paths = [inside(root, name) for name in images]
    path = inside(root, annotation)
    try:
        volume = load_volume([read_header(image) for image in paths])
        header = read_header(path)
        segmentation = header.sop_class_uid in _SEGMENTATIONS
        structures = (read_segments if segmentation else read_structures)(path, volume)
    except (DicomNodeError, OSError) as fault:
        raise UnreadableFile(path, _reason(fault)) from fault
    earlier = _earlier_masks(root, ours, volume, catalogue, tell)
    truths = tuple(
        replace(truth, corrected_from=earlier.get(_key(truth.target)))
        for truth in _truths(structures, annotation, catalogue, tell)
    )
    return Contents(agent_volume(volume), truths, _spacing_known(volume))


def _earlier_masks(
    root: Path, ours: tuple[str, ...], volume: SourceVolume, catalogue: Catalogue, tell: Tell
) -> Mapping[str, NDArray[np.bool_]]:
    """What Segnode drew in the series, masks (z, y, x) bool by structure.

    A structure of two results is told and left out: nothing says which of them the reader had.
    """
    masks: dict[str, NDArray[np.bool_]] = {}
    twice: set[str] = set()
    for name in ours:
        try:
            structures = read_segments(inside(root, name), volume)
        except (DicomNodeError, OSError, UnreadableFile) as fault:
            tell(name, f"{_reason(fault)} What it holds is not taken as what was corrected.")
            continue
        for truth in _truths(structures, name, catalogue, tell):
            key = _key(truth.target)
            if key in masks:
                twice.add(key)
                tell(name, f"{truth.target.text}: another result of Segnode holds it too.")
            masks[key] = truth.voxels
    return {key: mask for key, mask in masks.items() if key not in twice}


def _key(target: Target) -> str:
    """What tells one structure from another, however it was called."""
    return target.structure or target.text


def _truths(
    structures: Sequence[AnnotatedStructure], file: str, catalogue: Catalogue, tell: Tell
) -> Iterator[Truth]:
    texts: set[str] = set()
    for structure in structures:
        target = target_of_structure(structure, catalogue)
        if structure.fault or not target.text:
            tell(
                file, f"{structure.label or 'a structure'}: {structure.fault or 'it has no name'}."
            )
        elif target.text in texts:
            tell(file, f"{structure.label}: the file has another structure called {target.text}.")
        else:
            texts.add(target.text)
            yield from truth_of_mask(structure.voxels, target, file, tell)


def _spacing_known(volume: SourceVolume) -> bool:
    return volume.sized


def _patient(path: Path) -> str:
    """A digest of Patient ID and its issuer, so that no list names a patient; empty without one.

    It is the same in every study of the patient. It hides nothing from who knows the Patient ID.
    """
    with quietly():
        dataset = read_dataset(path)
        identifier = "".join(str(dataset.get("PatientID") or "").casefold().split())
        issuer = "".join(str(dataset.get("IssuerOfPatientID") or "").casefold().split())
    if not identifier:
        return ""
    return hashlib.sha256(f"{issuer}\0{identifier}".encode()).hexdigest()[:_PATIENT_DIGITS]


def _case_id(name: str) -> str:
    return name.removesuffix(".dcm")


def _reason(fault: Exception) -> str:
    if isinstance(fault, UnreadableFile):
        return fault.reason
    return f"{' '.join(str(fault).split()).rstrip('.')}."
