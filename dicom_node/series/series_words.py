"""Sentences about series that are not segmented: of bounded length, without patient names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from dicom_node.errors import NotAVolume, NoUsableSeries
from dicom_node.series.image_modality import modality_of
from dicom_node.series.mosaics import is_mosaic
from dicom_node.series.multiframe import is_multiframe, named_headers
from dicom_node.series.patients import by_patient, differing
from dicom_node.series.plane import ranges
from dicom_node.series.single_images import is_loop, is_single_image
from dicom_node.sop_classes import CONE_BEAM, class_name
from dicom_node.values import InstanceHeader

# Image Type values of images that show no anatomy to measure: screens, dose pages (as GE, Siemens
# and Philips write them)
_SCREEN_VALUES = frozenset(
    {"SCREEN SAVE", "SCREENSAVE", "DOSE_INFO", "DOSE", "CAPTURE", "PROTOCOL"}
)
MOST_NAMED = 6
_NO_UID = (
    "has no Series Instance UID, so that a result could not refer to it: send it with its UIDs"
)
_A_SERIES_A_SLICE = 3  # so many series of one slice each are a scan that was taken apart


def bounded(texts: Sequence[str], separator: str = "; ") -> str:
    """The first few, and how many more there are."""
    left = len(texts) - MOST_NAMED
    listed = separator.join(texts[:MOST_NAMED])
    return f"{listed}{separator}and {left} more" if left > 0 else listed


def series_name(members: Sequence[InstanceHeader]) -> str:
    """A series for a PACS administrator, without words that could name the patient."""
    first = members[0]
    number = "without a number" if first.series_number is None else str(first.series_number)
    images = sum(max(header.number_of_frames, 1) for header in members)
    plural = "s" if images != 1 else ""
    return f"series {number} ({modality_of(first) or 'no modality'}, {images} image{plural})"


def is_screen(header: InstanceHeader) -> bool:
    """Whether an image is a saved screen or a dose page."""
    return any(value.upper() in _SCREEN_VALUES for value in header.image_type)


def left_out_of(members: Sequence[InstanceHeader], foreign: Sequence[InstanceHeader]) -> str:
    """A sentence about what was filed in a series beside its slices."""
    numbers = ranges(
        header.instance_number for header in foreign if header.instance_number is not None
    )
    which = f"instances {numbers}" if numbers else f"{len(foreign)} instances"
    return (
        f"In {series_name(members)}, {which} are no slices and were left out ({_kinds(foreign)})."
    )


def _kinds(headers: Sequence[InstanceHeader]) -> str:
    names = Counter(
        "screen capture" if is_screen(header) else class_name(header.sop_class_uid)
        for header in headers
    )
    return bounded(list(names), ", ")


def reason_against(images: Sequence[InstanceHeader], members: Sequence[InstanceHeader]) -> str:
    """Why a series is not considered, empty if it is; the series' name precedes it."""
    if not images:
        return _reason_without_images(members)
    if not members[0].series_instance_uid:
        return _NO_UID
    if all("LOCALIZER" in header.image_type for header in images):
        return "is a scout (localizer)"
    if is_single_slice(images):
        return (
            f"holds a single slice (instance {images[0].instance_number}), which is no volume: "
            "send the whole series"
        )
    return ""


def _reason_without_images(members: Sequence[InstanceHeader]) -> str:
    contradicted = [header for header in members if header.reason]
    if contradicted:
        return f"cannot be used: {contradicted[0].reason} ({named_headers(contradicted)})"
    single_images = [
        header for header in members if is_single_image(header) and not is_screen(header)
    ]
    beams = [header for header in members if header.sop_class_uid in CONE_BEAM]
    if beams:
        return (
            "holds a cone beam volume in one multi-frame image "
            f"({class_name(beams[0].sop_class_uid)}), a kind that is not "
            "segmented: send it as slices of CT"
        )
    if any(map(is_loop, members)):
        return (
            "holds a loop of frames; of such images only single ones are segmented: "
            "send the frame that is meant"
        )
    if single_images and not members[0].series_instance_uid:
        return _NO_UID
    if single_images:
        return (
            "holds pictures, which are taken only where a study has no slices or they are asked for"
        )
    return (
        "holds no slices of CT, MR or PET "
        "(results, captures, reports and other kinds are never segmented)"
    )


def is_single_slice(images: Sequence[InstanceHeader]) -> bool:
    """Whether these are one slice, and not many in one object."""
    return len(images) == 1 and not is_multiframe(images[0]) and not is_mosaic(images[0])


def none_usable(
    left_out: Mapping[str, str],
    refused: Mapping[str, NotAVolume],
    by_series: Mapping[str, Sequence[InstanceHeader]],
) -> NotAVolume:
    """The error of a study without a usable series: the only reason, or the first few.

    By Series Instance UID, `left_out` has a clause and `refused` an error.
    """
    if len(left_out) == 1 and refused:
        return next(iter(refused.values()))
    apart = _taken_apart(left_out, by_series)
    reasons = [reason.rstrip(".") for uid, reason in left_out.items() if uid not in apart]
    if apart:
        modality = modality_of(by_series[apart[0]][0])
        numbers = [by_series[uid][0].series_number for uid in apart]
        which = ranges(number for number in numbers if number is not None)
        reasons.insert(
            0,
            f"{len(apart)} series of {modality or 'no modality'}{f' ({which})' if which else ''} "
            "hold a single slice each, as when "
            "every slice of a scan is sent as a series of its own: send them under one Series "
            "Instance UID",
        )
    return NoUsableSeries(f"Nothing in this study can be segmented: {bounded(reasons)}.")


def _taken_apart(
    left_out: Mapping[str, str], by_series: Mapping[str, Sequence[InstanceHeader]]
) -> list[str]:
    """Series that look like one scan filed slice by slice: one slice, one kind, one matrix."""
    kinds: dict[object, list[str]] = defaultdict(list)
    for uid in left_out:
        members = by_series[uid]
        if len(members) == 1 and " holds a single slice " in left_out[uid]:
            kinds[(modality_of(members[0]), members[0].rows, members[0].columns)].append(uid)
    most = max(kinds.values(), key=len, default=[])
    return most if len(most) >= _A_SERIES_A_SLICE else []


def other_patients(
    by_series: Mapping[str, Sequence[InstanceHeader]], chosen_uid: str
) -> tuple[str, ...]:
    """A warning where a study's series are of several patients: the result names one of them."""
    attributes = differing(header for members in by_series.values() for header in members)
    if not attributes:
        return ()
    chosen = by_series[chosen_uid]
    others = [
        series_name(members)
        for members in by_series.values()
        if members is not chosen and len(by_patient([*chosen, *members])) > 1
    ]
    if not others:  # only those that were not chosen differ among themselves
        others = [series_name(members) for members in by_series.values() if members is not chosen]
    differ = ", ".join(attributes)
    sentence = (
        f"The study holds images of several patients: {differ} of {bounded(others, ', ')} differ "
        "from those of other series. "
        f"The result is in the name that {series_name(chosen)} carries: have the archive check "
        "whose images these are."
    )
    return (sentence,)
