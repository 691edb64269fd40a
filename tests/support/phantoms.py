"""Synthetic patients as real DICOM files: a torso of ellipsoids in HU, with the masks that are
known to be in it.

The patient stands still in LPS mm and the scanner moves around it: every orientation shows the same
liver at the same place, so a flip shows up as a wrong place.

    phantom = phantoms.torso_ct(tmp_path, orientation="oblique", shape=(24, 96, 96), shuffle=7)
    phantom.masks["liver"]                 # (z, y, x) bool, z rising along the slice normal

What the options lack, `edit(z, dataset)` does: it is called with every data set before it is
written.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from scipy.spatial.transform import Rotation

Edit = Callable[[int, Dataset], None]
Cosines = tuple[float, float, float, float, float, float]


def _rotated(cosines: Cosines, angles_deg: Sequence[float]) -> Cosines:
    """Both directions turned about x, then y, then z."""
    turned = Rotation.from_euler("xyz", angles_deg, degrees=True).apply(np.reshape(cosines, (2, 3)))
    return tuple(turned.ravel().tolist())


#: Image Orientation (Patient) by name: direction of a row's pixels, then of a column's, in LPS
#: (PS3.3 C.7.6.2.1.1).
ORIENTATIONS: Mapping[str, Cosines] = {
    "axial": (1, 0, 0, 0, 1, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "prone": (-1, 0, 0, 0, -1, 0),
    "negated_rows": (
        -1,
        0,
        0,
        0,
        1,
        0,
    ),  # feet first as some scanners write it: the normal points down
    "negated_columns": (1, 0, 0, 0, -1, 0),
    "oblique": _rotated((1, 0, 0, 0, 1, 0), (17, -11, 23)),
    "oblique_sagittal": _rotated((0, 1, 0, 0, 0, -1), (8, 14, -5)),
}

#: Structure -> (HU, centre, semi-axes), LPS mm: x to the patient's left, y to the back, z to the
#: head. Later ones win.
ORGANS: Mapping[str, tuple[float, tuple[float, float, float], tuple[float, float, float]]] = {
    "spine": (300, (0, 62, 0), (18, 18, 400)),
    "aorta": (180, (14, 36, 0), (11, 11, 400)),
    "liver": (110, (-62, -8, 5), (68, 72, 60)),
    "stomach": (35, (52, -52, 12), (38, 30, 42)),
    "spleen": (125, (98, 34, 18), (28, 40, 42)),
    "left kidney": (190, (66, 56, -42), (24, 22, 44)),
    "right kidney": (190, (-66, 58, -50), (24, 22, 44)),
}


@dataclass(frozen=True, eq=False)
class Phantom:
    """What was written. Arrays are (z, y, x) with z rising along the slice normal, whatever the
    files' order.

    `paths[i]` is the file of the slice that was the i-th to be written: `z_of_path` tells its z.
    `hu` int16, `masks` bool, `affine_zyx_to_lps` (4, 4) of the full grid, before any option left
    slices out or moved them.
    """

    folder: Path
    paths: tuple[Path, ...]
    z_of_path: Mapping[Path, int]
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    hu: NDArray[np.int16]
    masks: Mapping[str, NDArray[np.bool_]]
    affine_zyx_to_lps: NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Where the scanner samples: `shape` (z, y, x), `spacing_mm` (z, y, x), the grid's middle at
    `centre_mm` (LPS).
    """

    shape: tuple[int, int, int] = (24, 96, 96)
    spacing_mm: tuple[float, float, float] = (5.0, 4.0, 4.0)
    cosines: Cosines = ORIENTATIONS["axial"]
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def affine(self) -> NDArray[np.float64]:
        """(4, 4) from (z, y, x, 1) to LPS mm; z runs along row x column."""
        row, column = np.array(self.cosines[:3]), np.array(self.cosines[3:])
        steps = np.stack([np.cross(row, column), column, row], axis=1) * self.spacing_mm
        affine = np.eye(4)
        affine[:3, :3] = steps
        affine[:3, 3] = self.centre_mm - steps @ ((np.array(self.shape) - 1) / 2)
        return affine


def anatomy(grid: Grid, seed: int = 0) -> tuple[NDArray[np.int16], dict[str, NDArray[np.bool_]]]:
    """HU (z, y, x) int16 of the torso as `grid` samples it, and each organ's mask (bool,
    disjoint).
    """
    hu = np.empty(grid.shape, np.int16)
    masks = {name: np.zeros(grid.shape, bool) for name in ORGANS}
    rng = np.random.default_rng(seed)
    for z in range(grid.shape[0]):  # a slice at a time: full-size series fit in memory
        values, organ = _section(grid, z)
        values += rng.normal(0, 8, values.shape)
        hu[z] = np.round(np.clip(values, -1024, 3071))
        for number, mask in enumerate(masks.values()):
            mask[z] = organ == number
    return hu, masks


def _section(grid: Grid, z: int) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Noiseless HU of slice z (y, x) and the index into ORGANS of what lies there, -1 where none
    does.
    """
    affine = grid.affine()
    rows, columns = np.ogrid[: grid.shape[1], : grid.shape[2]]
    point = [
        affine[k, 0] * z + affine[k, 1] * rows + affine[k, 2] * columns + affine[k, 3]
        for k in range(3)
    ]
    values = np.full(grid.shape[1:], -1000.0)
    organ = np.full(grid.shape[1:], -1)
    values[(point[0] / 175) ** 2 + (point[1] / 125) ** 2 <= 1] = -100  # fat under the skin
    values[(point[0] / 158) ** 2 + (point[1] / 108) ** 2 <= 1] = 50
    for number, (value, centre, axes) in enumerate(ORGANS.values()):
        distance = sum(((p - c) / a) ** 2 for p, c, a in zip(point, centre, axes, strict=True))
        inside = np.asarray(distance <= 1)
        values[inside], organ[inside] = value, number
    return values, organ


def uid(*sources: str) -> UID:
    """The same UID for the same words, always."""
    return generate_uid(entropy_srcs=["/".join(sources)])


@dataclass(frozen=True)
class Identity:
    """Who and which study: everything that two series of one study share."""

    study: str = "study"
    patient_name: str = "Phantom^Torso"
    patient_id: str = "PHANTOM-1"
    character_set: str | list[str] = "ISO_IR 192"

    def dataset(self) -> Dataset:
        """Patient and General Study modules, with a file meta that names no class yet."""
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.SpecificCharacterSet = self.character_set
        ds.PatientName, ds.PatientID = self.patient_name, self.patient_id
        ds.PatientBirthDate, ds.PatientSex = "19500101", "O"
        ds.StudyInstanceUID = uid("study", self.study)
        ds.StudyDate, ds.StudyTime, ds.StudyID = "20260102", "101112", "1"
        ds.AccessionNumber, ds.ReferringPhysicianName = "A1", ""
        return ds


@dataclass(frozen=True)
class Look:
    """How pixels are stored: header HU = stored * slope + intercept, inverted for MONOCHROME1
    display only.

    `rescale(z)` gives slope and intercept of slice z, None leaves both out (stored values are then
    the HU).
    """

    signed: bool = True
    rescale: Callable[[int], tuple[float, float]] | None = lambda z: (1.0, -1024.0)
    photometric_interpretation: str = "MONOCHROME2"

    def put(
        self, ds: Dataset, hu: NDArray[np.int16], z: int
    ) -> NDArray[np.int16] | NDArray[np.uint16]:
        """Write the Image Pixel attributes; returns the stored values (rows, columns)."""
        slope, intercept = self.rescale(z) if self.rescale else (1.0, 0.0)
        if self.rescale:
            ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = slope, intercept, "HU"
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, self.photometric_interpretation
        ds.Rows, ds.Columns = hu.shape[-2:]
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelRepresentation = int(self.signed)
        stored = np.round((hu.astype(np.float64) - intercept) / slope)
        return stored.astype(np.int16) if self.signed else stored.astype(np.uint16)


@dataclass(frozen=True)
class Series:
    """What makes this series differ from a plain one.

    `shuffle` seeds random instance numbers and file names; `skip` leaves slices out; `moved_mm`
    moves slices along the normal; `repeat` writes slices twice at one position; `phases` writes the
    whole stack n times, with acquisition numbers 1..n; `tilt_deg` shears the stack as a tilted
    gantry does; `localizer` adds a coronal scout to the series; `series_instance_uid` joins an
    existing series.
    """

    name: str = "torso"
    modality: str = "CT"
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL")
    shuffle: int | None = None
    feet_first: bool = False
    skip: Collection[int] = ()
    moved_mm: Mapping[int, float] = field(default_factory=dict)
    repeat: Collection[int] = ()
    phases: int = 1
    tilt_deg: float = 0.0
    localizer: bool = False
    series_number: int = 2
    series_instance_uid: str = ""
    transfer_syntax_uid: UID = ExplicitVRLittleEndian


def torso_ct(
    folder: Path,
    *,
    orientation: str | Cosines = "axial",
    shape: tuple[int, int, int] = (24, 96, 96),
    spacing_mm: tuple[float, float, float] = (5.0, 4.0, 4.0),
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    identity: Identity | None = None,
    look: Look | None = None,
    edit: Edit | None = None,
    enhanced: bool = False,
    hu: NDArray[np.int16] | None = None,
    **series: Any,
) -> Phantom:
    """Write the torso into `folder` as one series; keywords that are not named here are fields of
    `Series`.

    `enhanced` writes one Enhanced CT object instead (frames in shuffled order with `shuffle`;
    `edit` gets z = 0 and the whole object). `hu` (z, y, x) takes the torso's place.
    """
    options = Series(**series)
    cosines = ORIENTATIONS[orientation] if isinstance(orientation, str) else orientation
    grid = Grid(shape, spacing_mm, cosines, centre_mm)
    torso, masks = anatomy(grid)
    hu = torso if hu is None else hu
    folder.mkdir(parents=True, exist_ok=True)
    writer = _Writer(folder, grid, hu, identity or Identity(), look or Look(), options)
    edit = edit or (lambda z, ds: None)
    z_of_path = writer.write_enhanced(edit) if enhanced else writer.write_slices(edit)
    return Phantom(
        folder=folder,
        paths=tuple(z_of_path),
        z_of_path=z_of_path,
        study_instance_uid=writer.common.StudyInstanceUID,
        series_instance_uid=writer.common.SeriesInstanceUID,
        frame_of_reference_uid=writer.common.FrameOfReferenceUID,
        hu=hu,
        masks=masks,
        affine_zyx_to_lps=grid.affine(),
    )


def secondary_capture(
    folder: Path, *, identity: Identity | None = None, series_number: int = 90
) -> Path:
    """A screenshot: a Secondary Capture without any geometry, in the same study."""
    ds = (identity or Identity()).dataset()
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "CT", series_number, 1
    ds.SeriesInstanceUID = uid("series", "capture", ds.StudyInstanceUID)
    ds.ImageType, ds.ConversionType = ["DERIVED", "SECONDARY"], "WSD"
    pixels = Look(signed=False, rescale=None).put(ds, np.zeros((32, 32), np.int16), 0)
    folder.mkdir(parents=True, exist_ok=True)
    return save(ds, pixels, folder / "capture.dcm", SecondaryCaptureImageStorage, ("capture",))


def scout(folder: Path, *, identity: Identity | None = None, series_number: int = 1) -> Path:
    """A coronal localizer in a series of its own, in the same study and frame of reference."""
    grid = Grid((1, 96, 96), (1.0, 4.0, 4.0), ORIENTATIONS["coronal"])
    hu, _ = anatomy(grid)
    options = Series(
        "scout", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"), series_number=series_number
    )
    folder.mkdir(parents=True, exist_ok=True)
    writer = _Writer(folder, grid, hu, identity or Identity(), Look(), options)
    return next(iter(writer.write_slices(lambda z, ds: None)))


def setting(**values: Any) -> Edit:
    """An edit that sets attributes on every slice."""

    def edit(z: int, ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return edit


def patch(path: Path, keyword: str, value: bytes, vr: str = "") -> None:
    """Write one attribute of an Explicit VR Little Endian file byte for byte, legal or not, without
    anybody mending it.

    In the VR of the dictionary, or in `vr`; a missing one is put where it belongs.
    """
    tag, data, ds = Tag(keyword), path.read_bytes(), dcmread(path)
    raw = {each: ds.get_item(each) for each in list(ds._dict)}
    at = {each: _span(element) for each, element in raw.items() if hasattr(element, "value_tell")}
    begin = min((span[0] for each, span in at.items() if each >= tag), default=len(data))
    end = at[tag][1] if tag in at else begin
    vr, even = vr or dictionary_VR(tag), value + b" " * (len(value) % 2)
    length = (
        b"\0\0" + len(even).to_bytes(4, "little")
        if vr in _LONG
        else len(even).to_bytes(2, "little")
    )
    head = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little") + vr.encode()
    path.write_bytes(data[:begin] + head + length + even + data[end:])


_LONG = frozenset({"OB", "OW", "SQ", "UN", "UT"})


def _span(raw: Any) -> tuple[int, int]:
    """Where an element begins and ends in its file."""
    return raw.value_tell - (12 if raw.VR in _LONG else 8), raw.value_tell + raw.length


def rewrite(path: Path, **values: Any) -> None:
    """Change attributes of a file in place; None deletes them."""
    ds = dcmread(path)
    for keyword, value in values.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    ds.save_as(path)


def save(
    ds: Dataset,
    stored: NDArray[np.int16] | NDArray[np.uint16],
    path: Path,
    sop_class_uid: UID,
    uid_sources: Sequence[str],
    transfer_syntax_uid: UID = ExplicitVRLittleEndian,
) -> Path:
    """Give `ds` its SOP UIDs and pixels in the transfer syntax, and write it as a DICOM file."""
    ds.SOPClassUID, ds.SOPInstanceUID = (
        sop_class_uid,
        uid("instance", ds.SeriesInstanceUID, *uid_sources),
    )
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    if transfer_syntax_uid.is_encapsulated:
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.compress(transfer_syntax_uid, stored, generate_instance_uid=False)
    else:
        order: Literal["<", ">"] = "<" if transfer_syntax_uid.is_little_endian else ">"
        ds.file_meta.TransferSyntaxUID = transfer_syntax_uid
        ds.PixelData = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
        ds["PixelData"].VR = "OW"
    ds.save_as(path, enforce_file_format=True)
    return path


_CLASSES = {"MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}


class _Writer:
    """One series on its way to disk."""

    def __init__(
        self,
        folder: Path,
        grid: Grid,
        hu: NDArray[np.int16],
        identity: Identity,
        look: Look,
        series: Series,
    ) -> None:
        self.folder, self.grid, self.hu = folder, grid, hu
        self.identity, self.look, self.series = identity, look, series
        self.common = self._common()

    def _common(self) -> Dataset:
        ds, series = self.identity.dataset(), self.series
        ds.Modality, ds.SeriesNumber, ds.ImageType = (
            series.modality,
            series.series_number,
            [*series.image_type],
        )
        ds.SeriesInstanceUID = series.series_instance_uid or uid(
            "series", series.name, ds.StudyInstanceUID
        )
        ds.FrameOfReferenceUID = uid("frame of reference", ds.StudyInstanceUID)
        ds.PositionReferenceIndicator, ds.SeriesDescription = "", series.name
        ds.Manufacturer, ds.ManufacturerModelName = "Phantom makers", "Torso"
        ds.PatientPosition, ds.BodyPartExamined = "FFS" if series.feet_first else "HFS", "ABDOMEN"
        ds.GantryDetectorTilt = series.tilt_deg
        ds.KVP, ds.PatientOrientation = 120, None
        return ds

    def _order(self) -> list[tuple[int, int, int]]:
        """(z, phase, instance number) of every file, in the order of writing."""
        series = self.series
        planned = [
            (z, phase)
            for phase in range(1, series.phases + 1)
            for z in range(self.grid.shape[0])
            if z not in series.skip
            for _ in range(2 if z in series.repeat else 1)
        ]
        if series.feet_first:
            planned.reverse()
        if series.shuffle is not None:
            random.Random(series.shuffle).shuffle(planned)
        return [(z, phase, number) for number, (z, phase) in enumerate(planned, start=1)]

    def _position(self, z: int) -> NDArray[np.float64]:
        """Image Position (Patient) of slice z: the first voxel's centre, moved and sheared as
        asked.
        """
        along = z * self.grid.spacing_mm[0] + self.series.moved_mm.get(z, 0.0)
        row, column = np.array(self.grid.cosines[:3]), np.array(self.grid.cosines[3:])
        shear = np.tan(np.deg2rad(self.series.tilt_deg)) * along
        origin = self.grid.affine()[:3, 3]
        return np.asarray(origin + along * np.cross(row, column) + shear * column)

    def _put_geometry(self, ds: Dataset, position: NDArray[np.float64], cosines: Cosines) -> None:
        ds.ImagePositionPatient = [f"{v:.8g}" for v in position]
        ds.ImageOrientationPatient = [f"{v:.10f}" for v in cosines]
        ds.PixelSpacing, ds.SliceThickness = [*self.grid.spacing_mm[1:]], self.grid.spacing_mm[0]

    def write_slices(self, edit: Edit) -> dict[Path, int]:
        """One file a slice; returns z of each path, in the order of writing."""
        z_of_path: dict[Path, int] = {}
        for z, phase, number in self._order():
            path = self.folder / f"{self.series.name}-{number:04d}.dcm"
            ds = _copy(self.common)
            ds.InstanceNumber, ds.AcquisitionNumber = number, phase
            self._put_geometry(ds, self._position(z), self.grid.cosines)
            pixels = self.look.put(ds, self.hu[z], z)
            edit(z, ds)
            self._save(ds, pixels, path, (self.series.name, str(z), str(phase), str(number)))
            z_of_path[path] = z
        if self.series.localizer:
            self._write_localizer(len(z_of_path) + 1)
        return z_of_path

    def _save(
        self,
        ds: Dataset,
        pixels: NDArray[np.int16] | NDArray[np.uint16],
        path: Path,
        key: Sequence[str],
    ) -> None:
        sop_class = _CLASSES.get(self.series.modality, CTImageStorage)
        save(ds, pixels, path, sop_class, key, self.series.transfer_syntax_uid)

    def _write_localizer(self, number: int) -> None:
        ds = _copy(self.common)
        ds.ImageType, ds.InstanceNumber, ds.AcquisitionNumber = (
            ["ORIGINAL", "PRIMARY", "LOCALIZER"],
            number,
            1,
        )
        self._put_geometry(ds, np.array([-200.0, 0.0, 150.0]), ORIENTATIONS["coronal"])
        pixels = self.look.put(ds, self.hu[0], 0)
        self._save(
            ds,
            pixels,
            self.folder / f"{self.series.name}-localizer.dcm",
            (self.series.name, "localizer"),
        )

    def write_enhanced(self, edit: Edit) -> dict[Path, int]:
        """One Enhanced CT object (PS3.3 A.38), a frame a slice, frames in the order of `_order`."""
        ds, order = _copy(self.common), self._order()
        ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        ds.InstanceNumber, ds.NumberOfFrames = 1, len(order)
        ds.ContentDate, ds.ContentTime, ds.AcquisitionDateTime = (
            "20260102",
            "101112",
            "20260102101112",
        )
        pixels = self.look.put(ds, self.hu[[z for z, _, _ in order]], 0)
        shared, measures, plane = Dataset(), Dataset(), Dataset()
        measures.PixelSpacing, measures.SliceThickness = (
            [*self.grid.spacing_mm[1:]],
            self.grid.spacing_mm[0],
        )
        plane.ImageOrientationPatient = [f"{v:.10f}" for v in self.grid.cosines]
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
        if self.look.rescale:
            transform = Dataset()
            for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
                setattr(transform, keyword, ds[keyword].value)
                delattr(ds, keyword)
            shared.PixelValueTransformationSequence = [transform]
        ds.SharedFunctionalGroupsSequence = [shared]
        ds.PerFrameFunctionalGroupsSequence = [self._frame_groups(*planned) for planned in order]
        edit(0, ds)
        path = self.folder / f"{self.series.name}-enhanced.dcm"
        save(
            ds,
            pixels,
            path,
            EnhancedCTImageStorage,
            (self.series.name, "enhanced"),
            self.series.transfer_syntax_uid,
        )
        return {path: 0}

    def _frame_groups(self, z: int, phase: int, number: int) -> Dataset:
        groups, content, plane = Dataset(), Dataset(), Dataset()
        content.FrameAcquisitionNumber, content.StackID, content.InStackPositionNumber = (
            phase,
            "1",
            number,
        )
        content.TemporalPositionIndex = phase
        plane.ImagePositionPatient = [f"{v:.8g}" for v in self._position(z)]
        groups.FrameContentSequence, groups.PlanePositionSequence = [content], [plane]
        return groups


def _copy(ds: Dataset) -> Dataset:
    """A data set of its own, file meta included: pydicom's copy shares the meta."""
    copy = Dataset(ds)
    copy.file_meta = FileMetaDataset()
    return copy
