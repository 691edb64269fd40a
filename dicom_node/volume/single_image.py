"""One image as a volume of one slice: radiographs, ultrasound and camera images."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import pixel_array
from pydicom.valuerep import format_number_as_ds

from dicom_node.datasets.attribute_values import decimal
from dicom_node.datasets.codecs import plugin_of
from dicom_node.datasets.dataset_files import read_dataset
from dicom_node.datasets.stored_pixels import make_decodable
from dicom_node.errors import NotAVolume, UndecodablePixels, UnusableValue
from dicom_node.reading_errors import parsing, quietly
from dicom_node.series.image_modality import modality_of
from dicom_node.series.multiframe import source_of
from dicom_node.series.plane import Plane, named_frames, sentence_begin
from dicom_node.series.voxel_budget import refuse_large_image
from dicom_node.values import InstanceHeader, SourceVolume
from dicom_node.volume.padding import Padding
from dicom_node.volume.pixel_size import PixelSize, pixel_size
from dicom_node.volume.pixels import refuse_undecodable_syntaxes

log = logging.getLogger(__name__)

_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_INVERTED = "MONOCHROME1"
_PALETTE = "PALETTE COLOR"


def load_single_image(header: InstanceHeader) -> SourceVolume:
    """Decode one image as it is meant to be displayed.

    Grey: after modality and VOI transformation (PS3.3 C.11.1, C.11.2), MONOCHROME1 inverted,
    padding black. Colour: RGB, however it is stored; colour of equal channels becomes grey. Raises
    NotAVolume without an image, UndecodablePixels for pixel data that no codec here reads or that
    is damaged.
    """
    name = named_frames([source_of(header)])
    if not (header.rows and header.columns):
        raise NotAVolume(f"Rows or Columns are missing in {name}: there is no image in it.")
    if header.reason:
        raise NotAVolume(f"{sentence_begin(header.reason)} ({name}). Send it again.")
    refuse_large_image(header)
    shape = (header.rows, header.columns)
    refuse_undecodable_syntaxes([(_nowhere(header, shape), header.transfer_syntax_uid)])
    ds, pixels = _decoded(header.path, shape, name)
    if pixels.shape not in (shape, (*shape, 3)):
        raise UndecodablePixels(f"The pixel data of {name} decodes to {pixels.shape}, not {shape}.")
    size = pixel_size(ds)
    grey, colour = _grey_and_colour(pixels)
    log.info("series %s gives a picture of %s (rows, columns)", header.series_instance_uid, shape)
    return SourceVolume(
        intensities=grey[None],
        affine_zyx_to_lps=_flat(size),
        frames=(source_of(header),),
        study_instance_uid=header.study_instance_uid,
        series_instance_uid=header.series_instance_uid,
        frame_of_reference_uid="",
        modality=modality_of(header) or "OT",
        warnings=(size.warning,) if size.warning else (),
        colour=None if colour is None else colour[None],
        single_image=True,
        sized=size.sized,
    )


def _nowhere(header: InstanceHeader, shape: tuple[int, int]) -> Plane:
    """A plane that messages can name; its position and orientation have no meaning."""
    return Plane(source_of(header), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0), (1.0, 1.0), shape)


def _flat(size: PixelSize) -> NDArray[np.float64]:
    """(4, 4): rows run down, columns right, as an axial slice is displayed; slices are 1 mm."""
    row_mm, column_mm = size.spacing_mm
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = 1.0, row_mm, column_mm, 1.0
    return affine


def _decoded(
    path: Path, shape: tuple[int, int], name: str
) -> tuple[Dataset, NDArray[np.float32] | NDArray[np.uint8]]:
    """The data set and its displayed pixels; an error names the instance and its fault."""
    try:
        with quietly(), parsing(UndecodablePixels, "it cannot be decoded"):
            ds = read_dataset(path, pixels=True)
            make_decodable(ds, shape)
            return ds, _pixels_of(ds)
    except UnusableValue as error:
        raise error.of(name) from error
    except UndecodablePixels as error:
        raise UndecodablePixels(
            f"The pixel data of {name} is damaged or incomplete ({error}). Send it again."
        ) from error


def _pixels_of(ds: Dataset) -> NDArray[np.float32] | NDArray[np.uint8]:
    """Grey (rows, columns) float32, or RGB (rows, columns, 3) uint8."""
    plugin = plugin_of(ds.file_meta.TransferSyntaxUID)
    stored = pixel_array(ds, index=0, decoding_plugin=plugin)
    if ds.SamplesPerPixel > 1:
        return _eight_bits(stored, ds.BitsStored)
    if ds.PhotometricInterpretation == _PALETTE:
        with _as("Palette Color Lookup Table"):
            coloured = apply_color_lut(stored, ds)[..., :3]
        return _eight_bits(coloured, coloured.dtype.itemsize * 8)
    return _displayed(stored, ds)


@contextmanager
def _as(attribute: str) -> Iterator[None]:
    """Blame this attribute, not the pixels, for anything that goes wrong inside."""
    try:
        yield
    # tables are read by pydicom, and what it raises on odd ones is as open as in
    # dicom_node.reading_errors
    except Exception as reason:
        raise UnusableValue(attribute, "cannot be used") from reason


def _eight_bits(samples: NDArray[np.generic], bits: int) -> NDArray[np.uint8]:
    """Samples of `bits` bits as 0..255."""
    if bits <= 8:
        return np.asarray(samples, dtype=np.uint8)
    return np.asarray(samples.astype(np.uint32) >> (bits - 8), dtype=np.uint8)


def _displayed(stored: NDArray[Any], ds: Dataset) -> NDArray[np.float32]:
    """Grey values as displayed: bright is bright, whatever the photometric interpretation."""
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        number = decimal(ds, keyword)
        if number is not None:
            ds.add_new(keyword, "DS", format_number_as_ds(number))
    with _as("Modality LUT Sequence"):
        values = apply_modality_lut(stored, ds)
    with suppress(ValueError, TypeError, AttributeError, LookupError, NotImplementedError):
        values = apply_voi_lut(values, ds)  # a window that makes no sense hides nothing
    grey = np.array(values, dtype=np.float32)
    if not np.isfinite(grey).all():
        raise UndecodablePixels("its grey values are no finite numbers")
    padding = Padding.of(ds, ds.BitsAllocated).mask(stored, ds.BitsAllocated - ds.BitsStored)
    image = grey[~padding]
    if image.size and ds.PhotometricInterpretation == _INVERTED:
        grey = image.min() + image.max() - grey
    if padding.any():
        grey[padding] = grey[~padding].min() if image.size else 0.0
    return grey


def _grey_and_colour(
    pixels: NDArray[np.float32] | NDArray[np.uint8],
) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
    if pixels.ndim == 2:
        return np.asarray(pixels, dtype=np.float32), None
    colour = np.asarray(pixels, dtype=np.uint8)
    if (colour == colour[..., :1]).all():
        return colour[..., 0].astype(np.float32), None
    return colour.astype(np.float32) @ _LUMINANCE, colour
