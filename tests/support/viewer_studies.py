"""Studies of every geometry with the SEG that Segnode writes for them, for a viewer to open.

study = viewer_studies.torso(tmp_path / "oblique", orientation="oblique")
study.paths, study.seg_path     # what the archive is given
study.centre_mm("Liver", z)     # where the files' own headers put the liver of slice z
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.writers import write_result
from dicom_node.series.header import read_header
from dicom_node.values import (
    Algorithm,
    Code,
    ResultContent,
    ResultIdentity,
    ResultSegment,
    SourceVolume,
)
from dicom_node.volume.volume import load_volume
from dicom_node.voxels import Voxels
from tests.support import phantoms, pictures

Masks = Mapping[str, NDArray[np.bool_]]
Plane = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
_SHAPE, _SPACING_MM = (16, 96, 96), (10.0, 4.0, 4.0)
_WINDOW: dict[str, Any] = {"WindowCenter": 50, "WindowWidth": 600}


@dataclass(frozen=True)
class Look:
    """A structure as it should be listed: code and colour (CIELab and the sRGB that it means)."""

    code: Code
    cielab: tuple[float, float, float]
    rgb: tuple[int, int, int]


#: IEC 61966-2-1: green and magenta, which no grey value and no text of the viewer comes near
LOOKS: Mapping[str, Look] = {
    "Liver": Look(Code("10200004", "SCT", "Liver"), (87.73, -86.18, 83.18), (0, 255, 0)),
    "Left kidney": Look(
        Code("18639004", "SCT", "Left kidney"), (60.32, 98.25, -60.84), (255, 0, 255)
    ),
}


@dataclass(frozen=True, eq=False)
class Study:
    """A series and the SEG on it. `masks` (z, y, x) bool by label; `frames` says which instance and
    frame shows slice z; `planes` where it lies: the middle of the first pixel, the step along a row
    and the step down a column, LPS mm (3,) each.
    """

    uid: str
    paths: tuple[Path, ...]
    seg_path: Path
    masks: Masks
    frames: tuple[tuple[str, int], ...]
    planes: tuple[Plane, ...]

    def centre_mm(self, label: str, z: int) -> NDArray[np.float64]:
        """The middle (3,) in LPS mm of what `label` covers in slice z."""
        rows, columns = np.nonzero(self.masks[label][z])
        position, along_row, down_column = self.planes[z]
        return position + columns.mean() * along_row + rows.mean() * down_column

    def fullest(self, label: str) -> int:
        """The slice in which the structure is largest."""
        return int(self.masks[label].sum(axis=(1, 2)).argmax())


def plane_of(position: Sequence[Any], cosines: Sequence[Any], spacing: Sequence[Any]) -> Plane:
    """PS3.3 equation C.7.6.2.1-1: Pixel Spacing is between rows first, then between columns."""
    along, down = np.reshape(np.array(cosines, float), (2, 3))
    return np.array(position, float), along * float(spacing[1]), down * float(spacing[0])


def _written(
    folder: Path,
    paths: Sequence[Path],
    volume: SourceVolume,
    masks: Masks,
    planes: Sequence[Plane],
) -> Study:
    segments = [
        ResultSegment(
            label=label,
            category=Code("91723000", "SCT", "Anatomical Structure"),
            type=LOOKS[label].code,
            laterality=None,
            cielab=LOOKS[label].cielab,
            tracking_id=label,
            voxels=Voxels.of(mask),
        )
        for label, mask in masks.items()
    ]
    identity = ResultIdentity(folder.name, 1, datetime(2026, 1, 3, 12, 30, tzinfo=UTC))
    content = ResultContent(volume, segments, (), Algorithm("segnode", "1"), identity)
    write_result(SegmentationWriter(), content, folder / "seg.dcm")
    return Study(
        uid=volume.study_instance_uid,
        paths=tuple(paths),
        seg_path=folder / "seg.dcm",
        masks=masks,
        frames=tuple((each.sop_instance_uid, each.frame_number or 1) for each in volume.frames),
        planes=tuple(planes),
    )


def _of_slices(folder: Path, paths: Sequence[Path], masks: Masks, volume: SourceVolume) -> Study:
    """A study of single-frame files; each plane is what its own file says."""
    headers = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, paths)}
    planes = [
        plane_of(ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing)
        for ds in (headers[each.sop_instance_uid] for each in volume.frames)
    ]
    return _written(folder, paths, volume, masks, planes)


def _two_organs(phantom: phantoms.Phantom) -> Masks:
    return {label: phantom.masks[label.lower()] for label in LOOKS}


def _series(folder: Path, **options: Any) -> phantoms.Phantom:
    return phantoms.torso_ct(
        folder / "images",
        shape=_SHAPE,
        spacing_mm=_SPACING_MM,
        identity=phantoms.Identity(study=folder.name, patient_id=folder.name),
        shuffle=3,
        edit=phantoms.setting(**_WINDOW),
        **options,
    )


def torso(folder: Path, **options: Any) -> Study:
    """A phantom's series in shuffled files; options of `phantoms.torso_ct`."""
    made = _series(folder, **options)
    volume = load_volume([read_header(path) for path in made.paths])
    return _of_slices(folder, made.paths, _two_organs(made), volume)


def tilted(folder: Path, tilt_deg: float) -> Study:
    """A stack sheared by a tilted gantry, with the SEG that Segnode would write if it took one."""
    straight = load_volume([read_header(path) for path in _series(folder).paths])
    made = _series(folder, tilt_deg=tilt_deg)  # the same instances, moved
    place = {ds.SOPInstanceUID: ds.ImagePositionPatient for ds in map(pydicom.dcmread, made.paths)}
    positions = np.array([place[frame.sop_instance_uid] for frame in straight.frames], float)
    affine = straight.affine_zyx_to_lps.copy()
    affine[:3, 0], affine[:3, 3] = np.diff(positions, axis=0).mean(axis=0), positions[0]
    volume = replace(
        straight,
        affine_zyx_to_lps=affine,
        frames=tuple(replace(frame, stated=()) for frame in straight.frames),
    )
    return _of_slices(folder, made.paths, _two_organs(made), volume)


def enhanced(folder: Path, **options: Any) -> Study:
    """The phantom as one Enhanced CT object with its frames in no order."""

    def window(z: int, ds: Dataset) -> None:
        voi = Dataset()
        voi.WindowCenter, voi.WindowWidth = _WINDOW["WindowCenter"], _WINDOW["WindowWidth"]
        ds.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence = [voi]

    made = phantoms.torso_ct(
        folder / "images",
        shape=_SHAPE,
        spacing_mm=_SPACING_MM,
        identity=phantoms.Identity(study=folder.name, patient_id=folder.name),
        shuffle=3,
        enhanced=True,
        edit=window,
        **options,
    )
    volume = load_volume([read_header(path) for path in made.paths])
    ds = pydicom.dcmread(made.paths[0])
    shared = ds.SharedFunctionalGroupsSequence[0]
    planes = [
        plane_of(
            ds.PerFrameFunctionalGroupsSequence[(frame.frame_number or 1) - 1]
            .PlanePositionSequence[0]
            .ImagePositionPatient,
            shared.PlaneOrientationSequence[0].ImageOrientationPatient,
            shared.PixelMeasuresSequence[0].PixelSpacing,
        )
        for frame in volume.frames
    ]
    return _written(folder, made.paths, volume, _two_organs(made), planes)


def picture(folder: Path, kind: str, **elements: Any) -> Study:
    """A single image without a place in the patient; the second structure is a corner."""
    made = pictures.picture(
        folder / "images",
        kind,
        shape=(192, 256),
        series=folder.name,
        StudyInstanceUID=phantoms.uid("study", folder.name),
        PatientID=folder.name,
        **elements,
    )
    volume = load_volume([read_header(made.path)])
    corner = np.zeros_like(made.mask)
    corner[12:60, 20:70] = True
    spacing = elements.get("PixelSpacing") or elements.get("ImagerPixelSpacing") or (1, 1)
    plane = plane_of((0, 0, 0), (1, 0, 0, 0, 1, 0), spacing)
    masks = {"Liver": (made.mask & ~corner)[None], "Left kidney": corner[None]}
    return _written(folder, [made.path], volume, masks, [plane])
