"""A torso phantom: ellipsoids in HU as a CT series, for when no real CT can be had."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

SLICES, SIDE = 20, 512
SPACING_MM = (2.0, 0.8, 0.8)
NOISE_HU = 12.0
AIR_HU = -1000.0


@dataclass(frozen=True)
class Ellipsoid:
    """A piece of the torso: centre and radii (z, y, x) in mm.

    The origin is the slab's centre; y points to the back, x to the left.
    """

    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    hu: float


# painted in this order: later ones lie on top
TORSO = (
    Ellipsoid((0, 0, 0), (400, 115, 165), -100),  # subcutaneous fat
    Ellipsoid((0, 0, 0), (400, 98, 148), 50),  # wall and bowel
    Ellipsoid((0, -12, -72), (70, 72, 66), 110),  # liver
    Ellipsoid((0, 40, 105), (45, 40, 26), 120),  # spleen
    Ellipsoid((0, -38, 55), (60, 34, 44), 20),  # stomach
    Ellipsoid((0, 36, 12), (400, 12, 12), 180),  # aorta
    Ellipsoid((0, 30, -18), (400, 12, 15), 130),  # inferior vena cava
    Ellipsoid((0, 68, 0), (400, 22, 24), 400),  # vertebra
)


def torso_plane_hu(index: int, slices: int = SLICES) -> NDArray[np.float32]:
    """Slice `index` of a phantom of `slices`: (rows, columns) float32 in HU, with noise.

    Indices are zero-based, from the feet.
    """
    z_mm = (index - (slices - 1) / 2) * SPACING_MM[0]
    axes = [(np.arange(SIDE) - (SIDE - 1) / 2) * spacing for spacing in SPACING_MM[1:]]
    y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    plane = np.full((SIDE, SIDE), AIR_HU, dtype=np.float32)
    for part in TORSO:
        (cz, cy, cx), (rz, ry, rx) = part.centre_mm, part.radii_mm
        inside = ((z_mm - cz) / rz) ** 2 + ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1.0
        plane[inside] = part.hu
    noise = np.random.default_rng((20, index)).normal(0.0, NOISE_HU, plane.shape)
    return (plane + noise).astype(np.float32)


def write_torso(folder: Path, slices: int = SLICES) -> tuple[tuple[Path, ...], str]:
    """Write the phantom as a CT series into `folder`, made if missing.

    Returns its files and the study's UID.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = (_uid(role) for role in ("study", "series", "frame of reference"))
    paths = []
    for index in range(slices):
        dataset = _slice(index, torso_plane_hu(index, slices))
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.FrameOfReferenceUID = frame
        paths.append(folder / f"{index:03d}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return tuple(paths), study


def _uid(role: str) -> UID:
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'segnode demo phantom {role}').int}")


def _slice(index: int, plane: NDArray[np.float32]) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = _uid(f"instance {index}")
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Modality, dataset.Manufacturer = "CT", "Segnode phantom"
    dataset.PatientID, dataset.PatientName = "SEGNODE-PHANTOM", "Phantom^Torso"
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20260101"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "120000"
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "1", "", ""
    dataset.SeriesNumber, dataset.InstanceNumber = 2, index + 1
    dataset.SeriesDescription = "generated torso phantom"
    dataset.Rows, dataset.Columns = plane.shape
    dataset.PixelSpacing = [SPACING_MM[1], SPACING_MM[2]]
    dataset.SliceThickness = SPACING_MM[0]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [-204.4, -204.4, index * SPACING_MM[0]]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation, dataset.RescaleSlope, dataset.RescaleIntercept = 1, 1, 0
    dataset.PixelData = np.clip(plane, -1024, 3071).astype("<i2").tobytes()
    return dataset
