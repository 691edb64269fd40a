"""Volumes and images that are not DICOM: NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF, BMP ->
agent.values.Volume.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.geometry import Geometry
from agent.values import Volume
from models.errors import UnreadableFile
from models.images.ct_by_content import looks_like_ct

UNTOLD = "OT"
"""DICOM's "other" (PS3.3 C.7.3.1.1.1): a grey picture may be of anything."""

UPRIGHT: NDArray[np.float64] = np.eye(4)[:, [2, 1, 0, 3]]
"""The affine (z, y, x) to LPS mm of an image that stores none: axial, 1 mm, column 0 the patient's
right.
"""

MOST_VOXELS = 1 << 30
"""Of one volume: 4 GB as float32, twice a whole body in thin slices."""

_CT_AIR_HU = -900.0  # a volume that reaches below is in Hounsfield units
_LOOKED_AT = 7  # slices of a volume in another unit, none of them at an end
_LUMINANCE = tuple(np.float32(share) for share in (0.299, 0.587, 0.114))  # ITU-R BT.601


def read_volume(path: Path, *, modality: str | None = None, channel: int | None = None) -> Volume:
    """The volume or single image in a file, on the grid it is stored on; a 2-D image is one slice
    at 1 mm.

    `modality` as in DICOM; None guesses: CT for what reaches air's -1000 HU, and for grey pictures
    and volumes with CT's grey levels (`looks_like_ct`), MR for other volumes, XC for pictures in
    colour, OT for other grey ones, which do not tell. Pictures keep their colours, and their
    luminance is the intensities. `channel` (zero-based) is taken of a NIfTI that
    holds several volumes, which is refused otherwise. Values that are no numbers become the lowest
    one. UnreadableFile for everything that is no such file.
    """
    read = _reader(path)
    try:
        volume = read(path) if channel is None else as_volume(*_stored_nifti(path, channel))
    except FileNotFoundError:
        raise UnreadableFile(path, "there is no such file.") from None
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error) as fault:
        raise UnreadableFile(path, f"it is damaged or not what its name says ({fault}).") from fault
    return volume if modality is None else replace(volume, modality=modality)


def read_picture(path: Path, content: bytes) -> Volume:
    """The single image whose file would be `content`, as `read_volume` gives it; `path` stands for
    it in errors.
    """
    try:
        return _read_picture(path, io.BytesIO(content))
    except (OSError, EOFError, ValueError, SyntaxError, zlib.error) as fault:
        raise UnreadableFile(path, f"an image in it is damaged ({fault}).") from fault


def is_picture(path: Path) -> bool:
    """Whether a file is a single image by its name, whose masks are written as pictures too."""
    return _reader(path) is _read_picture


def can_read(path: Path) -> bool:
    """Whether a file's name has one of the endings that `read_volume` takes."""
    return any(path.name.lower().endswith(ending) for ending in _READERS)


def read_stored(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The values (z, y, x) of a NIfTI, NRRD or MetaImage as they are stored, and the affine (z, y,
    x) to LPS mm.

    UnreadableFile, OSError, EOFError, ValueError, RuntimeError or zlib.error where it is none.
    """
    name = path.name.lower()
    return _stored_nifti(path) if name.endswith((".nii", ".nii.gz")) else _stored_itk(path)


def _reader(path: Path) -> Callable[[Path], Volume]:
    name = path.name.lower()
    for ending, read in _READERS.items():
        if name.endswith(ending):
            return read
    raise UnreadableFile(path, f"its name ends in none of {', '.join(_READERS)}.")


def _read_nifti(path: Path) -> Volume:
    return as_volume(*_stored_nifti(path))


def _read_itk(path: Path) -> Volume:
    return as_volume(*_stored_itk(path))


def _stored_nifti(
    path: Path, channel: int | None = None
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """NIfTI-1 and -2: stored (i, j, k) with an affine to RAS mm becomes (z, y, x) = (k, j, i) in
    LPS.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        image: Any = nibabel.load(path)
        _bounded(path, image.shape)
        if channel is not None:
            if len(image.shape) != 4 or not 0 <= channel < image.shape[3]:
                raise UnreadableFile(
                    path, f"it has no volume {channel}: its shape is {image.shape}."
                )
            image = image.slicer[..., channel]
        stored = np.asanyarray(image.dataobj)
    except ImageFileError as fault:
        raise ValueError(str(fault)) from fault
    if stored.dtype.fields is not None:
        raise UnreadableFile(path, "it holds colour; give a volume of one value a voxel.")
    while stored.ndim > 3 and stored.shape[-1] == 1:
        stored = stored[..., 0]
    if stored.ndim not in (2, 3):
        raise UnreadableFile(
            path, f"it has {stored.ndim} dimensions; give one volume, not a series of them."
        )
    stored = stored if stored.ndim == 3 else stored[..., None]
    lps: NDArray[np.float64] = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    return stored.transpose(2, 1, 0), lps[:, [2, 1, 0, 3]]


def _stored_itk(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """NRRD and MetaImage: ITK counts in LPS already and hands arrays over as (z, y, x)."""
    import SimpleITK

    itk: Any = SimpleITK  # its hints cover a part of it only
    header = itk.ImageFileReader()
    header.SetFileName(str(path))
    header.ReadImageInformation()
    _bounded(path, header.GetSize())
    image = itk.ReadImage(str(path))
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise UnreadableFile(
            path, "it holds several values a voxel; give a volume with one value a voxel."
        )
    if image.GetDimension() == 2:
        image = itk.JoinSeries(image)
    if image.GetDimension() != 3:
        raise UnreadableFile(
            path,
            f"it has {image.GetDimension()} dimensions; give one volume, not a series of them.",
        )
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return itk.GetArrayFromImage(image), affine[:, [2, 1, 0, 3]]


def _bounded(path: Path, shape: Sequence[int]) -> None:
    """UnreadableFile for a header that speaks of more voxels than a volume can have."""
    if math.prod(int(size) for size in shape) > MOST_VOXELS:
        raise UnreadableFile(
            path, f"it says that it holds {tuple(shape)} voxels, which are too many."
        )


def _read_picture(path: Path, content: io.BytesIO | None = None) -> Volume:
    """One image as one slice, pixels as stored (a camera's rotation mark is not applied,
    transparency not looked at).
    """
    from PIL import Image

    try:
        with Image.open(content or path) as picture:
            # a camera's MPO is a photograph with small copies of itself behind it
            if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
                raise UnreadableFile(path, "it holds several images; give them one by one.")
            pixels = _pixels(picture)
    except Image.DecompressionBombError as fault:
        raise UnreadableFile(path, "it has too many pixels for one image.") from fault
    if pixels.ndim == 3 and bool((pixels == pixels[..., :1]).all()):
        pixels = pixels[..., 0]
    if pixels.ndim == 2:
        is_ct = bool(pixels.min() <= _CT_AIR_HU) or looks_like_ct(pixels)
        grey = as_volume(pixels[None], UPRIGHT, modality="CT" if is_ct else UNTOLD)
        return replace(grey, placed=False, sized=False)
    luminance = sum(pixels[..., n] * weight for n, weight in enumerate(_LUMINANCE))
    grey = as_volume(np.asarray(luminance)[None], UPRIGHT, modality="XC")
    return replace(grey, colour=pixels[None], placed=False, sized=False)


def _pixels(picture: Any) -> NDArray[Any]:
    """A picture's grey values (rows, columns) of any kind of number, or RGB (rows, columns, 3)
    uint8.
    """
    if picture.mode in {"1", "LA", "La"}:
        return np.asarray(picture.convert("L"))
    if picture.mode == "L" or picture.mode.startswith(("I", "F")):
        return np.asarray(picture)
    return np.array(picture.convert("RGB"))


_READERS: Mapping[str, Callable[[Path], Volume]] = {
    ".nii": _read_nifti,
    ".nii.gz": _read_nifti,
    ".nrrd": _read_itk,
    ".nhdr": _read_itk,
    ".mha": _read_itk,
    ".mhd": _read_itk,
    ".png": _read_picture,
    ".jpg": _read_picture,
    ".jpeg": _read_picture,
    ".tif": _read_picture,
    ".tiff": _read_picture,
    ".bmp": _read_picture,
}


def as_volume(
    voxels: NDArray[Any], affine_zyx_to_lps: NDArray[np.float64], modality: str | None = None
) -> Volume:
    """Voxels (z, y, x) of any kind of number as a volume; the modality is guessed from the values
    if not given. ValueError without a finite number.
    """
    if voxels.size == 0 or np.iscomplexobj(voxels):
        raise ValueError("it holds no real numbers")
    intensities = np.ascontiguousarray(voxels, dtype=np.float32)
    finite = np.isfinite(intensities)
    if not finite.all():
        if not finite.any():
            raise ValueError("it holds no finite number")
        intensities = np.where(finite, intensities, intensities[finite].min())
    if not modality:
        is_ct = float(intensities.min()) <= _CT_AIR_HU or _looks_like_ct(intensities)
        modality = "CT" if is_ct else "MR"
    depth, rows, columns = intensities.shape
    geometry = Geometry((depth, rows, columns), np.asarray(affine_zyx_to_lps, dtype=np.float64))
    return Volume(intensities, geometry, modality)


def _looks_like_ct(intensities: NDArray[np.float32]) -> bool:
    """Whether most of a volume's slices, of those that were looked at, have CT's grey levels."""
    depth = len(intensities)
    inner = np.linspace(0, depth - 1, _LOOKED_AT + 2).round().astype(int)[1:-1]
    alike = [looks_like_ct(intensities[z]) for z in np.unique(inner)]
    return 2 * sum(alike) > len(alike)
