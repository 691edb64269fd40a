"""Pixel data to intensities: decoded by pydicom's codecs, rescaled by frame, filled in place."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.datasets.attribute_values import shown_term, term
from dicom_node.datasets.codecs import is_decodable
from dicom_node.datasets.dataset_files import read_dataset
from dicom_node.datasets.intensity_units import is_unspecified, refuse_other_quantities, unit_of
from dicom_node.datasets.source_planes import stated_plane
from dicom_node.datasets.stored_pixels import PixelFormat, grey_format, stored_frames
from dicom_node.errors import EXPORT_AGAIN, NotAVolume, UndecodablePixels, UnusableValue
from dicom_node.reading_errors import parsing, quietly
from dicom_node.series.multiframe import FunctionalGroups
from dicom_node.series.plane import Plane, named
from dicom_node.sop_classes import uid_name
from dicom_node.values import Code, SourceFrame
from dicom_node.volume.hounsfield import (
    AIR_HU,
    Tally,
    is_tissue,
    judge_hounsfield,
    looks_hounsfield,
    tally,
)
from dicom_node.volume.padding import Padding
from dicom_node.volume.rescale import Rescale, judge_scales, rescale_of

# OpenJPEG and CharLS give up the GIL while they decode: two threads take 0.7 of the time of one.
_THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Intensities:
    """`values` (z, y, x) float32 after rescale, in `unit` (None: unknown); `warnings` on them.

    `frames` says where each slice came from, with what single-frame objects state of their place.
    """

    values: NDArray[np.float32]
    unit: Code | None
    warnings: tuple[str, ...]
    frames: tuple[SourceFrame, ...]


@dataclass(frozen=True)
class _Slice:
    """One decoded plane: its frame, its rescale, its counts, and what was odd about it."""

    plane: Plane
    frame: SourceFrame
    rescale: Rescale
    counts: Tally
    inverted: bool
    padding_problem: str


@dataclass(frozen=True)
class _Decoded:
    """The decoded slices of one file, or why there are none."""

    planes: tuple[Plane, ...]
    slices: tuple[_Slice, ...] = ()
    failure: NotAVolume | None = None


def refuse_undecodable_syntaxes(syntaxes: Sequence[tuple[Plane, str]]) -> None:
    """UndecodablePixels, before any work, for a Transfer Syntax UID that no codec reads."""
    for uid in sorted({uid for _, uid in syntaxes if uid}):
        if not is_decodable(uid):
            planes = [plane for plane, of_plane in syntaxes if of_plane == uid]
            raise UndecodablePixels(
                f"The pixel data of {named(planes)} is in a transfer syntax that cannot be decoded "
                f"here, {uid_name(uid)} "
                f"({ascii(uid)[1:-1]}). Send it uncompressed, or as JPEG Lossless, JPEG-LS, JPEG "
                "2000 or RLE."
            )


def decode(planes: Sequence[Plane], modality: str, frames_of: Callable[[Path], int]) -> Intensities:
    """Intensities of planes in this order, after rescale (HU for CT).

    `frames_of` says how many frames a file holds. Padding becomes air in CT, the slice's lowest
    value elsewhere. MONOCHROME1 inverts the grey of everything but CT, so that bright is bright; HU
    are HU however they are displayed. Raises UndecodablePixels, UnusableValue, or
    NotAVolume for slices on several scales and CT that is no HU.
    """
    with parsing(UndecodablePixels, f"There is no room for the pixels of {named(planes)}"):
        out = np.empty((len(planes), *planes[0].shape), dtype=np.float32)
    places: dict[Path, list[tuple[int, Plane]]] = defaultdict(list)
    for z, plane in enumerate(planes):
        places[plane.source.path].append((z, plane))

    def decode_file(path: Path) -> _Decoded:
        return _decode_file(places[path], out, modality, frames_of(path))

    with quietly(), ThreadPoolExecutor(_THREADS) as pool:
        decoded = list(pool.map(decode_file, places))
    _refuse_failures(decoded)
    slices = [slice_ for result in decoded for slice_ in result.slices]
    unit, warnings = _judged(slices, modality)
    frame_of = {slice_.plane.source: slice_.frame for slice_ in slices}
    frames = tuple(frame_of[plane.source] for plane in planes)
    return Intensities(out, unit, (*warnings, *_tell_odd(slices)), frames)


def _decode_file(
    places: Sequence[tuple[int, Plane]], out: NDArray[np.float32], modality: str, frames: int
) -> _Decoded:
    """Fill the slices that one file holds.

    A failure is returned, so that all files that fail can be named.
    """
    planes = tuple(plane for _, plane in places)
    try:
        with parsing(UndecodablePixels, "it cannot be decoded"):
            return _Decoded(planes, tuple(_fill(places, out, modality, frames)))
    except NotAVolume as error:
        return _Decoded(planes, failure=error)


def _refuse_failures(decoded: Sequence[_Decoded]) -> None:
    """The first failure, with the names of all instances that have the same."""
    failures = [result.failure for result in decoded if result.failure]
    if not failures:
        return
    first = failures[0]
    alike = [result for result in decoded if str(result.failure) == str(first)]
    names = named(plane for result in alike for plane in result.planes)
    if isinstance(first, UnusableValue):
        raise first.of(names) from first
    if isinstance(first, UndecodablePixels):
        raise UndecodablePixels(
            f"The pixel data of {names} is damaged or incomplete ({first}). Send the series again."
        ) from first
    raise first


def _fill(
    places: Sequence[tuple[int, Plane]], out: NDArray[np.float32], modality: str, frames: int
) -> list[_Slice]:
    z_of_index = {(plane.source.frame_number or 1) - 1: (z, plane) for z, plane in places}
    ds = read_dataset(places[0][1].source.path, pixels=True)
    form, groups = grey_format(ds, places[0][1].shape), FunctionalGroups(ds)
    padding, indices = Padding.of(ds, form.bits_allocated), sorted(z_of_index)
    scales = [_scale(ds, groups, index, modality) for index in indices]
    slices = []
    stored = stored_frames(ds, form, frames, indices)
    for index, scale, values in zip(indices, scales, stored, strict=True):
        z, plane = z_of_index[index]
        counts, problem = _put(values, out[z], (form, scale, padding), modality)
        inverted = form.inverted and modality != "CT"
        frame = _stated_frame(plane.source, ds)
        slices.append(_Slice(plane, frame, scale, counts, inverted, problem))
    return slices


def _stated_frame(source: SourceFrame, ds: Dataset) -> SourceFrame:
    """A frame with what its open file states of its place, so that nobody opens it again for that.

    A multi-frame object is one file, and its functional groups are left to whoever needs them.
    """
    if source.frame_number is not None:
        return source
    return replace(source, stated=stated_plane(ds))


def _scale(ds: Dataset, groups: FunctionalGroups, index: int, modality: str) -> Rescale:
    scale = rescale_of(groups, index, modality)
    if modality != "CT":
        return scale
    frame_type = term(groups.holder("CTImageFrameTypeSequence", "FrameType", index), "FrameType")
    refuse_other_quantities(scale.unit_name, tuple(frame_type.split("\\")))
    # multi-energy CT must state its quantity (PS3.3 C.8.2.1, Rescale Type); it is unspecified if it
    # does not
    unspecified = not scale.unit_name and term(ds, "MultienergyCTAcquisition") == "YES"
    return replace(scale, unit_name="US") if unspecified else scale


def _put(
    stored: NDArray[np.generic],
    out: NDArray[np.float32],
    how: tuple[PixelFormat, Rescale, Padding],
    modality: str,
) -> tuple[Tally, str]:
    """Write the intensities of `stored` (rows, columns) into `out` of the same shape.

    Returns the counts (of CT; empty otherwise) and what is wrong with the padding.
    """
    form, scale, padding = how
    if stored.shape != out.shape:
        raise UndecodablePixels(
            f"it decodes to {stored.shape} instead of {out.shape} rows and columns"
        )
    np.multiply(stored, np.float32(scale.slope), out=out, casting="same_kind")
    out += np.float32(scale.intercept)
    if not np.isfinite(out).all():
        raise UndecodablePixels("its values are no finite numbers")
    nothing = padding.mask(stored, form.bits_allocated - form.bits_stored)
    if modality == "CT":
        problem = padding.unusable
        if nothing.any() and is_tissue(out[nothing]):
            nothing[:] = False
            problem = "Pixel Padding Value stands for tissue"
        out[nothing] = AIR_HU
        return tally(out, nothing), problem
    if form.inverted:
        _turn_round(stored, out, form, scale)
    if nothing.any():
        image = out[~nothing]
        out[nothing] = image.min() if image.size else 0.0
    return Tally(), padding.unusable


def _turn_round(
    stored: NDArray[np.generic], out: NDArray[np.float32], form: PixelFormat, scale: Rescale
) -> None:
    """Invert within the range of the stored bits, so that slices stay comparable."""
    # stored s becomes first + last - s, which maps the range onto itself; with intensity m s + b
    # that is m (first + last) + 2 b - intensity
    half, whole = 1 << (form.bits_stored - 1), 1 << form.bits_stored
    signed = form.signed or np.issubdtype(stored.dtype, np.signedinteger)
    ends = -half + half - 1 if signed else whole - 1  # first + last
    np.subtract(np.float32(scale.slope * ends + 2 * scale.intercept), out, out=out)


def _judged(slices: Sequence[_Slice], modality: str) -> tuple[Code | None, tuple[str, ...]]:
    """The unit of all slices, checked to be on one scale, and warnings about it."""
    warnings = judge_scales([(slice_.plane, slice_.rescale) for slice_ in slices], modality)
    first = slices[0].rescale
    unit = unit_of(modality, first.unit_name)
    if modality != "CT":
        return (unit if all(slice_.rescale.stated for slice_ in slices) else None), warnings
    tallied = [(slice_.plane, slice_.counts) for slice_ in slices]
    names = named(slice_.plane for slice_ in slices)
    if not first.stated:
        if not looks_hounsfield(tallied):
            raise NotAVolume(
                f"Rescale Slope or Rescale Intercept is missing in {names} and the stored values "
                "are not Hounsfield units: "
                f"the grey values cannot be told. {EXPORT_AGAIN}"
            )
        assumption = "the values look like Hounsfield units without it, and were taken as such"
        warnings += (f"Rescale Slope or Rescale Intercept is missing in {names}: {assumption}.",)
    if is_unspecified(first.unit_name):
        problem = f"is {shown_term(first.unit_name)}, no known unit"
        doubt = "the values were used as if they were Hounsfield units, and none are reported"
        warnings += (f"Rescale Type of {names} {problem}: {doubt}.",)
    return unit, warnings + judge_hounsfield(tallied)


def _tell_odd(slices: Sequence[_Slice]) -> tuple[str, ...]:
    warnings = []
    inverted = [slice_.plane for slice_ in slices if slice_.inverted]
    if inverted:
        warnings.append(
            f"Grey values of {named(inverted)} are stored inverted (MONOCHROME1) and were turned "
            "round."
        )
    problems = (slice_.padding_problem for slice_ in slices)
    for problem in dict.fromkeys(filter(None, problems)):
        planes = [slice_.plane for slice_ in slices if slice_.padding_problem == problem]
        warnings.append(f"{problem}, in {named(planes)}: it was left out of account.")
    return tuple(warnings)
