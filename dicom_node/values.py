"""The frozen values of the DICOM edge. `server/pipeline.py` converts them for the other rooms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.arrivals import Arrival as Arrival
from dicom_node.arrivals import KeptAs as KeptAs
from dicom_node.arrivals import StoredInstance as StoredInstance
from dicom_node.result_kinds import ResultKind as ResultKind
from dicom_node.voxels import Voxels


@dataclass(frozen=True)
class PatientDigests:
    """Salted digests that tell patients apart, empty where not given.

    dicom_node.series.patients makes them.
    """

    identifier: str = ""
    issuer: str = ""
    name: str = ""
    birth_date: str = ""


@dataclass(frozen=True)
class InstanceHeader:
    """The attributes that choosing and sorting need, read tolerantly without the pixels.

    Missing or unreadable values are None or empty; `faults` names attributes that could not be
    used, and `reason` says in a sentence why, where a name does not say it. Integers have 32 bits,
    texts at most 1,024 characters. `image_position_mm` (x, y, z) LPS, `image_orientation` six
    direction cosines, `pixel_spacing_mm` (row, column). `attributes` holds what routes may match
    on: DICOM keyword -> text. `of_set` what may tell images at one position apart, likewise;
    `patient` compares patients and names none. Neither goes into the record. Multi-frame objects
    have `number_of_frames` > 1 and their positions in the functional groups.
    """

    path: Path
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str = ""
    image_type: tuple[str, ...] = ()
    instance_number: int | None = None
    series_number: int | None = None
    series_description: str = ""
    frame_of_reference_uid: str = ""
    rows: int | None = None
    columns: int | None = None
    number_of_frames: int = 1
    image_position_mm: tuple[float, float, float] | None = None
    image_orientation: tuple[float, float, float, float, float, float] | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    slice_thickness_mm: float | None = None
    acquisition_number: int | None = None
    temporal_position: int | None = None
    gantry_tilt_deg: float | None = None
    manufacturer: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    of_set: dict[str, str] = field(default_factory=dict, repr=False)
    patient: PatientDigests = field(default_factory=PatientDigests, repr=False)
    faults: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class SourceFrame:
    """Where slice z of a volume came from.

    `frame_number` is one-based, None for single-frame objects. `stated` is where a single-frame
    object says that it lies, in its own digits (dicom_node.datasets.source_planes.stated_plane),
    as the pixels were read; empty where that was not looked at.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    instance_number: int | None
    frame_number: int | None = None
    stated: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Code:
    """A coded concept: `value`, `scheme` ("SCT"), `meaning` (PS3.3 table 8.8-1)."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, eq=False)
class SourceVolume:
    """A series as a volume, on the grid it was acquired on.

    `intensities` (z, y, x) float32 after rescale (HU for CT), z in rising order of position along
    the slice normal, y rows and x columns exactly as stored; `affine_zyx_to_lps` (4, 4) float64
    maps (z, y, x, 1) to (x, y, z, 1) LPS mm; `frames` one a slice, same order, and none for a
    volume that was no DICOM. `warnings` are sentences, `why_chosen` is one: why this series of its
    study.

    A `single_image` has no place in the patient (a radiograph, an ultrasound or camera image): its
    affine states the size of a pixel alone, and it has no frame of reference. It is `sized` where
    its header states the size of a pixel; otherwise a pixel counts as 1 mm. `colour` is (z, y, x,
    3) uint8 RGB; the intensities are then its luminance. `unit` is that of the intensities (UCUM),
    None where it is unknown: no result may then be stated in a unit. `contrast` is whether the
    header names a contrast medium. `window` is what a user wants it shown through, from black to
    white: HU for CT, the unit of the intensities for everything else; None as is fit.
    """

    intensities: NDArray[np.float32]
    affine_zyx_to_lps: NDArray[np.float64]
    frames: tuple[SourceFrame, ...]
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    modality: str
    warnings: tuple[str, ...] = ()
    colour: NDArray[np.uint8] | None = None
    single_image: bool = False
    sized: bool = True
    unit: Code | None = None
    why_chosen: str = ""
    contrast: bool = False
    window: tuple[float, float] | None = None


@dataclass(frozen=True)
class Region:
    """Where a finding lies: a structure and its side (Anatomic Region Sequence, PS3.3 10.5)."""

    type: Code
    laterality: Code | None = None


@dataclass(frozen=True, eq=False)
class ResultSegment:
    """One structure of a result, for SEG and SR alike.

    `voxels` on the source grid, never empty; `cielab` L* 0..100, a* and b* -128..127;
    `tracking_id` tells structures of one result apart; `region` where a finding lies; `doubts` are
    sentences for the reader about its outline, `for_review` whether they ask for a person's eye.
    """

    label: str
    category: Code
    type: Code
    laterality: Code | None
    cielab: tuple[float, float, float]
    tracking_id: str
    voxels: Voxels
    region: Region | None = None
    doubts: tuple[str, ...] = ()
    for_review: bool = False

    @property
    def doubt(self) -> str:
        """All doubts in one text; "" without any."""
        return "; ".join(self.doubts)


@dataclass(frozen=True)
class UndrawnFinding:
    """A structure that was looked for and not drawn: goes to the SR only.

    It was not found, or, if `uncertain`, is there and could not be drawn.
    """

    label: str
    type: Code
    laterality: Code | None
    tracking_id: str
    reason: str
    region: Region | None = None
    category: Code | None = None
    uncertain: bool = False


# Categories of what is no anatomy itself, and so is no place either (PS3.16 CID 7150)
_NO_PLACES = frozenset({"49755003", "260787004"})


def site_of(structure: ResultSegment | UndrawnFinding) -> Region | None:
    """Where a result lies: its region, else the structure itself.

    None for a finding without a stated place.
    """
    if structure.region is not None:
        return structure.region
    if structure.category is not None and structure.category.value in _NO_PLACES:
        return None
    return Region(structure.type, structure.laterality)


@dataclass(frozen=True)
class Algorithm:
    """What made a result: `name`, `version` and `family` of the algorithm.

    They are written as algorithm identification and contributing equipment. `weights_sha256` are
    the digests of the segmenter's and the planner's weights, `settings_sha256` that of what else
    decides what comes of them, `prompts_sha256` that of a language model's prompts ("" without).
    """

    name: str
    version: str
    weights_sha256: tuple[str, ...] = ()
    settings_sha256: str = ""
    prompts_sha256: str = ""

    @property
    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Each digest that there is, with what it is of."""
        weights = [("weights", digest) for digest in self.weights_sha256]
        others = [("settings", self.settings_sha256), ("prompts", self.prompts_sha256)]
        return (*weights, *((of, digest) for of, digest in others if digest))


@dataclass(frozen=True)
class ResultIdentity:
    """What the UIDs of results are derived from: a request and a version of its study.

    `requested_at` (aware) is when the results count as made, so that a re-run gives the same bytes
    as well as the same UIDs; without it they carry the time of writing. `ordinal` is how many
    requests there were on the study before: results of several are told apart by it.
    """

    request_id: str
    study_version: int
    requested_at: datetime | None = None
    ordinal: int = 0


@dataclass(frozen=True, eq=False)
class ResultContent:
    """What the results of one request say, whatever kind of object says it.

    `segments` are numbered from 1 in this order; `undrawn` are the structures looked for in
    vain, and those that are there and could not be drawn.
    """

    volume: SourceVolume
    segments: Sequence[ResultSegment]
    undrawn: Sequence[UndrawnFinding]
    algorithm: Algorithm
    identity: ResultIdentity


@dataclass(frozen=True)
class WrittenResult:
    """A result object on disk, checked and ready to send."""

    kind: ResultKind
    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
