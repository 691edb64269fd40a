"""Which series of a study is segmented, and why not the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.errors import NotAVolume, NoUsableSeries
from dicom_node.geometry import Stack
from dicom_node.multiframe import is_multiframe, source_of
from dicom_node.pictures import by_preference, explained, is_loop, is_picture, told
from dicom_node.plane import named_frames, ranges
from dicom_node.sop_classes import MODALITY_RANK, VOLUMES, class_name
from dicom_node.stacking import stack_of
from dicom_node.values import InstanceHeader

# Image Type values of images that show no anatomy to measure: screens, dose pages (as GE, Siemens and Philips write them)
_SCREEN_VALUES = frozenset(
    {"SCREEN SAVE", "SCREENSAVE", "DOSE_INFO", "DOSE", "CAPTURE", "PROTOCOL"}
)
# Convolution kernels for bone and lung: they sharpen, and noise hides soft organs. Siemens numbers: 60 and above.
_SHARP_KERNELS = frozenset({"LUNG", "BONE", "BONEPLUS", "EDGE", "ULTRA", "L", "YC", "YD", "D", "E"})
_SHARP_SIEMENS = 60
_AXIAL_COSINE = 0.8  # the normal within 37 degrees of the patient's long axis


@dataclass(frozen=True)
class Choice:
    """The series to segment: `headers` of its images alone; `warnings` for the report; `explanation` one sentence."""

    series_instance_uid: str
    headers: tuple[InstanceHeader, ...]
    warnings: tuple[str, ...]
    explanation: str


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A series that is a regular stack of images."""

    headers: tuple[InstanceHeader, ...]
    stack: Stack
    foreign: tuple[str, ...]

    @property
    def derived(self) -> bool:
        return self.stack.planes[0].derived

    @property
    def axial(self) -> bool:
        return abs(float(self.stack.planes[0].normal[2])) >= _AXIAL_COSINE

    @property
    def rank(self) -> tuple[object, ...]:
        """Smaller is better; the last two only make the choice the same every time."""
        first = self.headers[0]
        return (
            MODALITY_RANK.get(first.modality, len(MODALITY_RANK)),
            self.derived,
            not self.axial,
            -len(self.stack.planes),
            _sharp(first.attributes.get("ConvolutionKernel", "")),
            self.stack.planes[0].slice_thickness_mm or float("inf"),
            "ContrastBolusAgent" not in first.attributes,
            first.series_number if first.series_number is not None else 1 << 31,
            first.series_instance_uid,
        )

    def described(self) -> str:
        """For the explanation, without a word that could name the patient."""
        kind = "derived" if self.derived else "original"
        plane = "axial" if self.axial else "not axial"
        return f"{_name(self.headers)}, {kind}, {plane}, {len(self.stack.planes)} slices"


def choose_series(
    headers: Sequence[InstanceHeader],
    wanted_modality: str | None = None,
    series_instance_uid: str | None = None,
) -> Choice:
    """Choose among a study's series: CT before MR, original before derived, axial first, then the most slices.

    Among equals the softer kernel, the thinner slices, the one with contrast. Only series that are regular stacks are
    considered; a series asked for by UID is taken whatever its rank. Where there are no slices at all, it is one
    picture (dicom_node.pictures). Raises NoUsableSeries, which says what was
    looked at and why each was left out; a lone image series that is no volume raises its own NotAVolume.
    """
    by_series = _by_series(headers, series_instance_uid)
    picture = _picture(by_series, wanted_modality)
    if picture is not None:
        return picture
    candidates: list[_Candidate] = []
    refused: dict[str, NotAVolume] = {}
    left_out: dict[str, str] = {}
    for uid, members in by_series.items():
        images, foreign = _images_of(members)
        reason = _reason_against(images, members, wanted_modality)
        if reason and not (series_instance_uid and images):
            left_out[uid] = f"{_name(members)} {reason}"
            continue
        try:
            candidates.append(_Candidate(images, stack_of(images), foreign if images else ()))
        except NotAVolume as error:
            refused[uid] = error
            left_out[uid] = f"{_name(members)} is no volume: {error}"
    if not candidates:
        raise _none_usable(left_out, refused)
    best, *others = sorted(candidates, key=lambda candidate: candidate.rank)
    return _choice(best, others, [left_out[uid] for uid in refused])


def _picture(
    by_series: dict[str, list[InstanceHeader]], wanted_modality: str | None
) -> Choice | None:
    """The picture to segment, where these series hold no slice that could be part of a volume."""
    everything = [header for members in by_series.values() for header in members]
    if any(header.sop_class_uid in VOLUMES for header in everything):
        return None
    shown = [
        header
        for header in everything
        if not _is_screen(header)
        and header.series_instance_uid
        and wanted_modality in {None, header.modality}
    ]
    pictures = by_preference(shown)
    if not pictures:
        return None
    chosen, *others = pictures
    return Choice(chosen.series_instance_uid, (chosen,), told(chosen, others), explained(chosen))


def _by_series(
    headers: Sequence[InstanceHeader], series_instance_uid: str | None
) -> dict[str, list[InstanceHeader]]:
    """The images of each series of one study, or of the one that was asked for."""
    if not headers:
        raise NoUsableSeries(
            "The study holds no instances: send it, or ask again when it has arrived."
        )
    studies = {header.study_instance_uid for header in headers}
    if len(studies) > 1:
        raise NoUsableSeries(
            f"These are instances of {len(studies)} studies: give those of one study at a time."
        )
    grouped: dict[str, list[InstanceHeader]] = defaultdict(list)
    for header in headers:
        grouped[header.series_instance_uid].append(header)
    if series_instance_uid is None:
        return dict(grouped)
    if series_instance_uid not in grouped:
        held = "; ".join(_name(members) for members in grouped.values())
        raise NoUsableSeries(
            f"The study does not hold the series asked for, {series_instance_uid}. It holds: {held}."
        )
    return {series_instance_uid: grouped[series_instance_uid]}


def _images_of(
    members: Sequence[InstanceHeader],
) -> tuple[tuple[InstanceHeader, ...], tuple[str, ...]]:
    """The images that can be slices, and a sentence about what else was filed in the series."""
    images = tuple(
        header for header in members if header.sop_class_uid in VOLUMES and not _is_screen(header)
    )
    foreign = [header for header in members if header not in images]
    if not foreign:
        return images, ()
    numbers = ranges(
        header.instance_number for header in foreign if header.instance_number is not None
    )
    kinds = _kinds(foreign)
    which = f"instances {numbers}" if numbers else f"{len(foreign)} instances"
    return images, (f"In {_name(members)}, {which} are no slices and were left out ({kinds}).",)


def _is_screen(header: InstanceHeader) -> bool:
    return any(value.upper() in _SCREEN_VALUES for value in header.image_type)


def _kinds(headers: Sequence[InstanceHeader]) -> str:
    names = Counter(
        "screen capture" if _is_screen(header) else class_name(header.sop_class_uid)
        for header in headers
    )
    return ", ".join(names)


def _reason_against(
    images: Sequence[InstanceHeader],
    members: Sequence[InstanceHeader],
    wanted_modality: str | None,
) -> str:
    """Why a series is not looked at further, empty if it is. The reason follows the series' name in a sentence."""
    belied = [header for header in members if header.reason]
    if not images and belied:
        return f"cannot be used: {belied[0].reason} ({named_frames(map(source_of, belied))})"
    if not images and any(map(is_loop, members)):
        return "holds a loop of frames; of such images only single ones are segmented: send the frame that is meant"
    pictures = [header for header in members if is_picture(header) and not _is_screen(header)]
    if not images and pictures and members[0].series_instance_uid:
        return (
            "holds pictures, which are taken only where a study has no slices or they are asked for"
        )
    if not images and not pictures:
        return "holds no slices of CT, MR or PET (results, captures, reports and other kinds are never segmented)"
    if not members[0].series_instance_uid:
        return "has no Series Instance UID, so that a result could not refer to it: send it with its UIDs"
    if wanted_modality and images[0].modality != wanted_modality:
        return f"is not {wanted_modality}, which was asked for"
    if all("LOCALIZER" in header.image_type for header in images):
        return "is a scout (localizer)"
    if len(images) == 1 and not is_multiframe(images[0]):
        return f"holds a single slice (instance {images[0].instance_number}), which is no volume: send the whole series"
    return ""


def _none_usable(left_out: dict[str, str], refused: dict[str, NotAVolume]) -> NotAVolume:
    """The one reason there is, or all of them."""
    if len(left_out) == 1 and refused:
        return next(iter(refused.values()))
    reasons = "; ".join(reason.rstrip(".") for reason in left_out.values())
    return NoUsableSeries(f"Nothing in this study can be segmented: {reasons}.")


def _choice(best: _Candidate, others: Sequence[_Candidate], refused: Sequence[str]) -> Choice:
    """With the warnings that the report must carry."""
    warnings = list(best.foreign)
    if best.derived:
        warnings.append(
            f"{_name(best.headers)} is derived (a reformat, or computed otherwise): no original series of its kind was a usable volume."
        )
    if not best.axial and MODALITY_RANK.get(best.headers[0].modality) == 0:
        warnings.append(
            f"{_name(best.headers)} is not axial: no axial series of its kind was a usable volume."
        )
    warnings += [f"Left out: {reason}" for reason in refused]
    beside = "; ".join(other.described() for other in others) or "no other usable series"
    return Choice(
        series_instance_uid=best.headers[0].series_instance_uid,
        headers=best.headers,
        warnings=tuple(text[:1].upper() + text[1:] for text in warnings),
        explanation=f"Chosen: {best.described()}. Beside it: {beside}.",
    )


def _name(members: Sequence[InstanceHeader]) -> str:
    """A series for a PACS administrator, without words that could name the patient."""
    first = members[0]
    number = "without a number" if first.series_number is None else str(first.series_number)
    images = sum(max(header.number_of_frames, 1) for header in members)
    return f"series {number} ({first.modality or 'no modality'}, {images} image{'s' if images != 1 else ''})"


def _sharp(kernel: str) -> bool:
    """Whether a Convolution Kernel is for bone or lung."""
    name = kernel.partition("\\")[0].strip().upper()
    digits = "".join(character for character in name if character.isdigit())[:2]
    return name in _SHARP_KERNELS or (digits.isdigit() and int(digits) >= _SHARP_SIEMENS)
