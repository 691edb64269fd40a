"""Pixel data to intensities: decoded with whatever codecs pydicom has, rescaled slice by slice, filled in place."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from dicom_node.dataset_files import read_dataset
from dicom_node.errors import NotAVolume, UndecodablePixels
from dicom_node.multiframe import FunctionalGroups
from dicom_node.parsing import parsing, quietly
from dicom_node.plane import Plane, named
from dicom_node.sop_classes import uid_name

AIR_HU = -1024.0
# OpenJPEG and CharLS give up the GIL while they decode: two threads take 0.7 of the time of one.
_THREADS = min(4, os.cpu_count() or 1)


# EOI of JPEG (ITU-T T.81 B.1.1.3) and JPEG-LS; entropy-coded data cannot contain it. Encoders may pad after it.
_END_OF_IMAGE, _MOST_PADDING_BYTES = b"\xff\xd9", 16
_UNCHECKED_BY_DECODER = frozenset({*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes})


@dataclass(frozen=True)
class _Decoded:
    """What became of one file: its planes, what was done to its values, or why they could not be had."""

    planes: tuple[Plane, ...]
    rescaled: bool = True
    inverted: bool = False
    lowest: float = AIR_HU
    failure: str = ""


def refuse_undecodable_syntaxes(syntaxes: Sequence[tuple[Plane, str]]) -> None:
    """UndecodablePixels for planes whose Transfer Syntax UID no installed codec reads, before any work is done."""
    for uid in sorted({uid for _, uid in syntaxes if uid}):
        if not _decodable(uid):
            planes = [plane for plane, of_plane in syntaxes if of_plane == uid]
            raise UndecodablePixels(
                f"The pixel data of {named(planes)} is in a transfer syntax that cannot be decoded here, {uid_name(uid)} "
                f"({ascii(uid)[1:-1]}). Send it uncompressed, or as JPEG Lossless, JPEG-LS, JPEG 2000 or RLE."
            )


def _decodable(uid: str) -> bool:
    try:
        with quietly():
            return get_decoder(UID(uid)).is_available
    except NotImplementedError:
        return False


def decode(planes: Sequence[Plane], modality: str) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Intensities (z, y, x) float32 of planes in this order, after rescale (HU for CT), and warnings.

    Padding becomes air in CT, the slice's lowest value elsewhere. MONOCHROME1 turns the grey of everything but
    CT round, so that bright is bright; HU are HU however they are displayed. Raises UndecodablePixels, or NotAVolume
    for CT without rescale values.
    """
    with parsing(UndecodablePixels, f"There is no room for the pixels of {named(planes)}"):
        out = np.empty((len(planes), *planes[0].shape), dtype=np.float32)
    places: dict[Path, list[tuple[int, Plane]]] = defaultdict(list)
    for z, plane in enumerate(planes):
        places[plane.source.path].append((z, plane))
    with quietly(), ThreadPoolExecutor(_THREADS) as pool:
        decoded = list(
            pool.map(lambda of_file: _decode_file(of_file, out, modality), places.values())
        )
    failed = [result for result in decoded if result.failure]
    if failed:
        names = named(plane for result in failed for plane in result.planes)
        raise UndecodablePixels(
            f"The pixel data of {names} is damaged or incomplete ({failed[0].failure}). Send the series again."
        )
    return out, _judge_rescale(decoded, modality) + _tell_inverted(decoded)


def _decode_file(
    places: Sequence[tuple[int, Plane]], out: NDArray[np.float32], modality: str
) -> _Decoded:
    """Fill the slices that one file holds; a failure is returned, so that all files that fail can be named."""
    planes = tuple(plane for _, plane in places)
    try:
        with parsing(UndecodablePixels, "it cannot be read"):
            return _fill(places, out, modality)
    except UndecodablePixels as error:
        return _Decoded(planes, failure=str(error))


def _fill(places: Sequence[tuple[int, Plane]], out: NDArray[np.float32], modality: str) -> _Decoded:
    planes = tuple(plane for _, plane in places)
    ds = read_dataset(planes[0].source.path, pixels=True)
    if ds.get("SamplesPerPixel", 1) != 1:
        raise NotAVolume(
            f"The images are in colour ({named(planes)}): a volume is made of grey values only."
        )
    groups, frames = FunctionalGroups(ds), int(ds.get("NumberOfFrames") or 1)
    refuse_short(ds, frames)
    z_of_index = {(plane.source.frame_number or 1) - 1: z for z, plane in places}
    # all frames in one go are found without an offset table; the few of one phase are worth a search
    indices = None if len(z_of_index) == frames else sorted(z_of_index)
    rescaled, inverted, lowest = True, False, np.inf
    for index, stored in zip(
        indices or range(frames), iter_pixels(ds, indices=indices, raw=True), strict=True
    ):
        look = _Look.of(ds, groups, index, modality)
        look.apply(stored, out[z_of_index[index]])
        rescaled, inverted = rescaled and look.rescaled, inverted or look.inverted
        lowest = min(lowest, float(out[z_of_index[index]].min()))
    return _Decoded(planes, rescaled, inverted, lowest)


def refuse_short(ds: Dataset, frames: int) -> None:
    """Native pixel data says by its length whether it is whole, JPEG and JPEG-LS by their last marker.

    Their decoders fill what is missing with something and say nothing; those of RLE and JPEG 2000 refuse it themselves.
    """
    if not any(
        keyword in ds for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    ):
        raise UndecodablePixels("the file ends before its pixel data")
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax in _UNCHECKED_BY_DECODER:
        for frame in generate_frames(ds.PixelData, number_of_frames=frames):
            if _END_OF_IMAGE not in frame[-_MOST_PADDING_BYTES:]:
                raise UndecodablePixels("a compressed frame breaks off before its end")
    elif not syntax.is_encapsulated and "PixelData" in ds:
        expected = ds.Rows * ds.Columns * frames * ds.BitsAllocated // 8
        if len(ds.PixelData) < expected:
            raise UndecodablePixels(f"it ends after {len(ds.PixelData)} of {expected} bytes")


@dataclass(frozen=True)
class _Look:
    """How stored values of one frame become intensities."""

    slope: float
    intercept: float
    rescaled: bool
    inverted: bool
    bits: tuple[int, int]  # allocated, stored
    signed: bool
    padding: tuple[int, int] | None
    ct: bool

    @classmethod
    def of(cls, ds: Dataset, groups: FunctionalGroups, index: int, modality: str) -> _Look:
        """Of a zero-based frame (PS3.3 C.11.1, C.7.6.16.2.9; padding C.7.5.1.1.2)."""
        slope = groups.find("PixelValueTransformationSequence", "RescaleSlope", index)
        intercept = groups.find("PixelValueTransformationSequence", "RescaleIntercept", index)
        if slope is not None and not (np.isfinite(float(slope)) and float(slope) != 0):
            raise UndecodablePixels(f"its Rescale Slope is {slope}")
        first = ds.get("PixelPaddingValue")
        last = ds.get("PixelPaddingRangeLimit", first)
        allocated, stored = int(ds.BitsAllocated), int(ds.get("BitsStored", ds.BitsAllocated))
        if int(ds.get("HighBit", stored - 1)) != stored - 1:
            raise UndecodablePixels(f"its High Bit is {ds.HighBit} with {stored} Bits Stored")
        return cls(
            slope=float(1 if slope is None else slope),
            intercept=float(0 if intercept is None else intercept),
            rescaled=slope is not None and intercept is not None,
            inverted=ds.get("PhotometricInterpretation") == "MONOCHROME1" and modality != "CT",
            bits=(allocated, stored),
            signed=bool(ds.get("PixelRepresentation", 0)),
            padding=None if first is None else (int(first), int(last)),
            ct=modality == "CT",
        )

    def apply(self, stored: NDArray[np.generic], out: NDArray[np.float32]) -> None:
        """Write the intensities of `stored` (rows, columns) into `out` of the same shape."""
        if stored.shape != out.shape:
            raise UndecodablePixels(
                f"it decodes to {stored.shape} instead of {out.shape} rows and columns"
            )
        np.multiply(stored, np.float32(self.slope), out=out, casting="same_kind")
        out += np.float32(self.intercept)
        padding = self._padding(stored)
        if self.inverted:
            # the range that the stored bits can hold, so that slices stay comparable
            low, high = (
                (-(1 << (self.bits[1] - 1)), (1 << (self.bits[1] - 1)) - 1)
                if self.signed
                else (0, (1 << self.bits[1]) - 1)
            )
            np.subtract(np.float32(self.slope * (low + high) + 2 * self.intercept), out, out=out)
        if padding.any():
            image = out[~padding]
            out[padding] = AIR_HU if self.ct else (image.min() if image.size else 0.0)

    def _padding(self, stored: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Where `stored` is no image; the value is wrapped and cut to the stored bits as the pixels were."""
        if self.padding is None or not np.issubdtype(stored.dtype, np.integer):
            return np.zeros(stored.shape, dtype=bool)
        unused = self.bits[0] - self.bits[1]
        ends = (np.array(self.padding).astype(stored.dtype) << unused) >> unused
        return np.asarray((stored >= ends.min()) & (stored <= ends.max()))


def _judge_rescale(decoded: Sequence[_Decoded], modality: str) -> tuple[str, ...]:
    """CT without rescale values is HU only if it looks like HU: all of it lacks them and air is well below zero."""
    without = [result for result in decoded if not result.rescaled]
    if modality != "CT" or not without:
        return ()
    lacking = named(plane for result in without for plane in result.planes)
    if len(without) < len(decoded) or min(result.lowest for result in decoded) > -500:
        raise NotAVolume(
            f"Rescale Slope or Rescale Intercept is missing in {lacking} and the stored values are not Hounsfield units: "
            "the grey values cannot be told. Export the series again from the scanner."
        )
    return (
        f"Rescale Slope and Intercept are missing in {lacking}: the stored values were taken as Hounsfield units.",
    )


def _tell_inverted(decoded: Sequence[_Decoded]) -> tuple[str, ...]:
    inverted = [plane for result in decoded if result.inverted for plane in result.planes]
    return (
        (
            f"Grey values of {named(inverted)} are stored inverted (MONOCHROME1) and were turned round.",
        )
        if inverted
        else ()
    )
