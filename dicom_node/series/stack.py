"""From the headers of a series to one regular stack of planes, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

from dicom_node.errors import NotAVolume
from dicom_node.series.geometry import Stack, arrange
from dicom_node.series.image_modality import judge_claims
from dicom_node.series.image_sets import AXES
from dicom_node.series.multiframe import source_of
from dicom_node.series.phases import one_set, untangled, why_none
from dicom_node.series.plane import Plane, named, named_frames, sentence_begin
from dicom_node.series.planes import by_orientation, planes_of
from dicom_node.series.voxel_budget import refuse_beyond_budget
from dicom_node.sop_classes import VOLUMES, class_name
from dicom_node.values import InstanceHeader

# half a millimetre over 512 pixels: a spacing written to three digits and to seven is the same
_SAME_SPACING_MM = 1e-3
_MOST_REASONS = 3  # in one sentence

_LOCALIZER_DIRECTIONS, _LOCALIZER_SLICES, _ACROSS_COSINE = 3, 9, 0.7


def stack_of(headers: Sequence[InstanceHeader]) -> Stack:
    """Sort and check the images of one series by their headers alone; no pixel is read.

    Raises NotAVolume with one sentence that names the instance numbers, says what was found and
    what to do.
    """
    if not headers:
        raise NotAVolume("There are no images to make a volume of: send the series.")
    _refuse_foreign(headers)
    _refuse_belied(headers)
    doubts = judge_claims(headers)
    every_plane, warnings = planes_of(headers)
    planes, set_aside = _of_one_kind(every_plane)
    warnings += set_aside
    try:
        stack = untangled(arrange(planes))
    except NotAVolume as error:
        selected = one_set(planes)
        if selected is None:
            raise why_none(planes, error) from error
        stack = selected
    _refuse_frames_of_reference(stack.planes)
    refuse_beyond_budget(stack.planes)
    return replace(stack, warnings=(*doubts, *warnings, *stack.warnings))


def _refuse_foreign(headers: Sequence[InstanceHeader]) -> None:
    """Refuse images that make no volume, and those of several series."""
    others = [header for header in headers if header.sop_class_uid not in VOLUMES]
    if others:
        raise NotAVolume(
            f"{class_name(others[0].sop_class_uid)} is no kind of image that makes a volume "
            f"({named_frames(map(source_of, others))}): send slices of CT, MR or PET."
        )
    series = {header.series_instance_uid for header in headers}
    if len(series) > 1:
        raise NotAVolume(
            f"These are images of {len(series)} series: a volume is made of one. Choose one of "
            "them."
        )


def _refuse_belied(headers: Sequence[InstanceHeader]) -> None:
    """Refuse images whose header contradicts their pixels: none is left out, no count guessed."""
    by_reason: dict[str, list[InstanceHeader]] = {}
    for header in headers:
        if header.reason:
            by_reason.setdefault(header.reason, []).append(header)
    if by_reason:
        named_reasons = (
            f"{reason} ({named_frames(map(source_of, contradicted))})"
            for reason, contradicted in list(by_reason.items())[:_MOST_REASONS]
        )
        raise NotAVolume(
            f"{sentence_begin('; '.join(named_reasons))}: export the series again, or without "
            "these."
        )


def _of_one_kind(planes: list[Plane]) -> tuple[list[Plane], tuple[str, ...]]:
    """The planes; of mixed matrices and orientations the first kind: originals, no reformats."""
    try:
        _refuse_mixture(planes)
    except NotAVolume as mixture:
        for axis in AXES:
            first = min(axis.value(plane) for plane in planes)
            first_kind = [plane for plane in planes if axis.value(plane) == first]
            if not axis.kind or not 2 <= len(first_kind) < len(planes):
                continue
            try:
                _refuse_mixture(first_kind)
            except NotAVolume:
                continue
            others = [plane for plane in planes if axis.value(plane) != first]
            sentence = (
                f"Left out because they differ in {axis.name} and in size or direction from those "
                "used "
                f"({first.label or named(first_kind)}): {named(others)}."
            )
            return first_kind, (sentence,)
        raise mixture
    return planes, ()


def _refuse_mixture(planes: Sequence[Plane]) -> None:
    """Refuse planes of several orientations, matrices or pixel spacings."""
    directions = by_orientation(planes)
    _refuse_localizer(directions)
    _refuse_unlike(directions, "orientations", _orientation_text)
    _refuse_unlike(
        _grouped(planes, lambda p: p.shape), "matrices", lambda p: f"{p.shape[0]}x{p.shape[1]}"
    )
    _refuse_unlike(
        _by_spacing(planes),
        "pixel spacings",
        lambda p: f"{p.pixel_spacing_mm[0]:g}x{p.pixel_spacing_mm[1]:g} mm",
    )


def _refuse_localizer(directions: Sequence[Sequence[Plane]]) -> None:
    """Few slices in each of three or more directions are a localizer, whatever Image Type says."""
    if len(directions) < _LOCALIZER_DIRECTIONS or max(map(len, directions)) > _LOCALIZER_SLICES:
        return
    pairs = combinations([group[0].normal for group in directions], 2)
    if all(abs(float(normal @ other)) < _ACROSS_COSINE for normal, other in pairs):
        listing = "; ".join(named(group) for group in directions[:4])
        raise NotAVolume(
            f"The series is a localizer: its slices run in {len(directions)} directions, a few in "
            f"each ({listing}). "
            "Send the series that is to be segmented."
        )


def _refuse_frames_of_reference(planes: Sequence[Plane]) -> None:
    """Refuse none or several frames of reference: they place a result in the patient."""
    lacking = [plane for plane in planes if not plane.frame_of_reference_uid]
    if lacking:
        raise NotAVolume(
            f"Frame of Reference UID is missing in {named(lacking)}: a result could not say which "
            "patient space it is in. "
            "Export the series again from the scanner, or have the archive put the UID back."
        )
    _refuse_unlike(
        _grouped(planes, lambda p: p.frame_of_reference_uid),
        "frames of reference",
        lambda p: p.frame_of_reference_uid,
    )


def _orientation_text(plane: Plane) -> str:
    return "\\".join(f"{cosine:.3g}" for cosine in plane.orientation)


def _grouped(planes: Sequence[Plane], key: Callable[[Plane], object]) -> list[list[Plane]]:
    groups: dict[object, list[Plane]] = {}
    for plane in planes:
        groups.setdefault(key(plane), []).append(plane)
    return list(groups.values())


def _by_spacing(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Planes in groups of one pixel spacing, up to the digits it is written with."""
    groups: list[list[Plane]] = []
    for alike in _grouped(planes, lambda p: p.pixel_spacing_mm):
        for group in groups:
            pairs = zip(group[0].pixel_spacing_mm, alike[0].pixel_spacing_mm, strict=True)
            if all(
                abs(spacing_mm - other_mm) <= _SAME_SPACING_MM for spacing_mm, other_mm in pairs
            ):
                group += alike
                break
        else:
            groups.append(alike)
    return groups


def _refuse_unlike(
    groups: Sequence[Sequence[Plane]], what: str, text: Callable[[Plane], str]
) -> None:
    if len(groups) < 2:
        return
    listing = "; ".join(f"{text(group[0])} in {named(group)}" for group in groups[:4])
    more = f"; and {len(groups) - 4} more" if len(groups) > 4 else ""
    raise NotAVolume(
        f"The series mixes {len(groups)} {what}: {listing}{more}. These are several series under "
        "one Series Instance UID, "
        "or a localizer among slices: send each as a series of its own."
    )
