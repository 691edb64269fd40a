"""Single DICOM images of every kind that is no slice: an ellipse on a ground, stored in every way
they are stored.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    OphthalmicPhotography8BitImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    VLEndoscopicImageStorage,
    VLPhotographicImageStorage,
    generate_uid,
)

SHAPE = (48, 64)
GROUND, BODY = 40, 200  # grey values of 8 bits as they should be seen
GROUND_RGB, BODY_RGB = (30, 60, 90), (250, 200, 120)

#: Kind -> SOP class, modality, colour
KINDS: dict[str, tuple[UID, str, bool]] = {
    "CR": (ComputedRadiographyImageStorage, "CR", False),
    "DX": (DigitalXRayImageStorageForPresentation, "DX", False),
    "US": (UltrasoundImageStorage, "US", True),
    "XC": (VLPhotographicImageStorage, "XC", True),
    "OP": (OphthalmicPhotography8BitImageStorage, "OP", True),
    "ES": (VLEndoscopicImageStorage, "ES", True),
    "SC": (SecondaryCaptureImageStorage, "OT", True),
}


@dataclass(frozen=True, eq=False)
class Picture:
    """What was written: `grey` (rows, columns) or `rgb` (rows, columns, 3) uint8 as it should be
    seen, `mask` the body.
    """

    path: Path
    mask: NDArray[np.bool_]
    grey: NDArray[np.uint8]
    rgb: NDArray[np.uint8]
    series_instance_uid: str
    sop_instance_uid: str


def picture(
    folder: Path,
    kind: str = "CR",
    *,
    shape: tuple[int, int] = SHAPE,
    name: str = "picture",
    stored: str = "",
    series: str = "",
    transfer_syntax_uid: UID = ExplicitVRLittleEndian,
    edit: Callable[[Dataset], None] | None = None,
    **elements: Any,
) -> Picture:
    """Write one image. `stored` its photometric interpretation (default by kind); `elements` DICOM
    keywords to set, None to leave out; `edit` changes the data set before it is compressed; images
    of one `series` share a series.
    """
    sop_class, modality, colour = KINDS[kind]
    mask = _ellipse(shape)
    grey = np.where(mask, BODY, GROUND).astype(np.uint8)
    rgb = np.where(mask[..., None], BODY_RGB, GROUND_RGB).astype(np.uint8)
    ds = _header(sop_class, modality, series or f"{kind} {name}", name)
    photometric = stored or ("RGB" if colour else "MONOCHROME2")
    _WAYS[photometric](ds, rgb, grey)
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    for keyword in [keyword for keyword, value in elements.items() if value is None]:
        delattr(ds, keyword)
    if "PixelData" in ds:
        ds.PixelData *= int(ds.get("NumberOfFrames") or 1)
    if edit is not None:
        edit(ds)
    if transfer_syntax_uid.is_encapsulated and transfer_syntax_uid != JPEGBaseline8Bit:
        ds.compress(transfer_syntax_uid, generate_instance_uid=False)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return Picture(path, mask, grey, rgb, ds.get("SeriesInstanceUID", ""), ds.SOPInstanceUID)


def _ellipse(shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Off the middle and off both axes, so that no flip goes unseen."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    down, across = (
        (rows - shape[0] * 0.4) / (shape[0] * 0.25),
        (columns - shape[1] * 0.6) / (shape[1] * 0.15),
    )
    return np.asarray(down**2 + across**2 <= 1)


def _header(sop_class: UID, modality: str, series: str, name: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = generate_uid(entropy_srcs=["picture", series, name])
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.StudyInstanceUID = generate_uid(entropy_srcs=["pictures"])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=["pictures", series])
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName, ds.PatientID = "Picture^Test", "PICTURE-1"
    ds.PatientBirthDate, ds.PatientSex = "19500101", "O"
    ds.StudyDate, ds.StudyTime, ds.StudyID = "20260102", "101112", "1"
    ds.AccessionNumber, ds.ReferringPhysicianName = "A1", ""
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = modality, 3, 1
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.PatientOrientation = ["L", "F"]
    return ds


def _grey(ds: Dataset, values: NDArray[np.uint16], photometric: str) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, photometric
    ds.Rows, ds.Columns = values.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = values.astype("<u2").tobytes()


def _colour(ds: Dataset, samples: NDArray[np.uint8], photometric: str) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 3, photometric
    ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = samples.shape[:2]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = samples.tobytes()


def _planar(ds: Dataset, rgb: NDArray[np.uint8], _: NDArray[np.uint8]) -> None:
    _colour(ds, rgb, "RGB")
    ds.PlanarConfiguration = 1
    ds.PixelData = np.ascontiguousarray(rgb.transpose(2, 0, 1)).tobytes()


def _palette(ds: Dataset, rgb: NDArray[np.uint8], grey: NDArray[np.uint8]) -> None:
    """Two entries, the ground's and the body's, 16 bits each."""
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "PALETTE COLOR"
    ds.Rows, ds.Columns = grey.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = (grey == BODY).astype(np.uint8).tobytes()
    for number, colour in enumerate(("Red", "Green", "Blue")):
        entries = np.array([GROUND_RGB[number], BODY_RGB[number]], dtype="<u2") << 8
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [2, 0, 16])
        setattr(ds, f"{colour}PaletteColorLookupTableData", entries.tobytes())


def _ybr_full(ds: Dataset, rgb: NDArray[np.uint8], _: NDArray[np.uint8]) -> None:
    """PS3.3 C.7.6.3.1.2, rounded."""
    red, green, blue = (rgb[..., n].astype(np.float64) for n in range(3))
    samples = np.stack(
        [
            0.2990 * red + 0.5870 * green + 0.1140 * blue,
            -0.1687 * red - 0.3313 * green + 0.5000 * blue + 128,
            0.5000 * red - 0.4187 * green - 0.0813 * blue + 128,
        ],
        axis=-1,
    )
    _colour(ds, np.rint(samples).astype(np.uint8), "YBR_FULL")


def _ybr_jpeg(ds: Dataset, rgb: NDArray[np.uint8], _: NDArray[np.uint8]) -> None:
    """Baseline JPEG with halved chrominance, as cameras and ultrasound scanners send it."""
    _colour(ds, rgb, "YBR_FULL_422")
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "JPEG", quality=95, subsampling=1)
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PixelData = encapsulate([stream.getvalue()])
    ds["PixelData"].VR = "OB"
    ds.LossyImageCompression = "01"
    ds.LossyImageCompressionRatio = "8"


_WAYS: dict[str, Callable[[Dataset, NDArray[np.uint8], NDArray[np.uint8]], None]] = {
    "MONOCHROME2": lambda ds, _, grey: _grey(
        ds, grey.astype(np.uint16) << np.uint16(4), "MONOCHROME2"
    ),
    "MONOCHROME1": lambda ds, _, grey: _grey(
        ds, np.uint16(4095) - (grey.astype(np.uint16) << np.uint16(4)), "MONOCHROME1"
    ),
    "RGB": lambda ds, rgb, _: _colour(ds, rgb, "RGB"),
    "RGB in planes": _planar,
    "PALETTE COLOR": _palette,
    "YBR_FULL": _ybr_full,
    "YBR_FULL_422": _ybr_jpeg,
}
