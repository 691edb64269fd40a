"""Which series of a study is segmented, and why not the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dicom_node.errors import NotAVolume, NoUsableSeries
from dicom_node.series.geometry import Stack
from dicom_node.series.image_modality import modality_of
from dicom_node.series.image_sets import contrast_of, shows_anatomy
from dicom_node.series.kernels import is_sharp
from dicom_node.series.patients import refuse_several_patients
from dicom_node.series.series_words import (
    MOST_NAMED,
    bounded,
    is_screen,
    left_out_of,
    none_usable,
    other_patients,
    reason_against,
    series_name,
)
from dicom_node.series.single_images import by_preference, explanation_of, unchosen_warning
from dicom_node.series.stack import stack_of
from dicom_node.sop_classes import MODALITY_RANK, VOLUMES
from dicom_node.values import InstanceHeader

_AXIAL_COSINE = 0.8  # the normal within 37 degrees of the patient's long axis


@dataclass(frozen=True)
class SeriesChoice:
    """The series to segment: `headers` of its images alone; `warnings` for the report.

    `explanation` says in a sentence why it was chosen.
    """

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
        """Smaller is better; the last two make the choice deterministic."""
        first = self.headers[0]
        return (
            MODALITY_RANK.get(modality_of(first), len(MODALITY_RANK)),
            not shows_anatomy(self.stack.planes[0]),
            self.derived,
            contrast_of(self.stack.planes[0]),
            not self.axial,
            -len(self.stack.planes),
            is_sharp(first.attributes.get("ConvolutionKernel", "")),
            self.stack.planes[0].slice_thickness_mm or float("inf"),
            "ContrastBolusAgent" not in first.attributes,
            first.series_number if first.series_number is not None else 1 << 31,
            first.series_instance_uid,
        )

    def described(self) -> str:
        """For the explanation, without a word that could name the patient."""
        kind = "derived" if self.derived else "original"
        plane = "axial" if self.axial else "not axial"
        return f"{series_name(self.headers)}, {kind}, {plane}, {len(self.stack.planes)} slices"


def choose_series(
    headers: Sequence[InstanceHeader], series_instance_uid: str | None = None
) -> SeriesChoice:
    """Choose a series: CT before MR, magnitude before phase, original before derived, water first.

    Then axial before others, and the most slices. Among equals the softer kernel, the thinner
    slices, the one with contrast. Only series that are regular stacks are considered; a series
    asked for by UID is taken whatever its rank. Where there are no slices at all, a single image is
    taken (dicom_node.series.single_images). Raises NoUsableSeries, which names the series and why
    each was left out; a lone image series that is no volume raises its own NotAVolume.
    """
    by_series = _by_series(headers)
    choice = _choose(_requested(by_series, series_instance_uid), series_instance_uid)
    strangers = other_patients(by_series, choice.series_instance_uid)
    return replace(choice, warnings=choice.warnings + strangers)


def _choose(
    by_series: dict[str, list[InstanceHeader]], series_instance_uid: str | None
) -> SeriesChoice:
    single_image = _single_image(by_series)
    if single_image is not None:
        return single_image
    candidates: list[_Candidate] = []
    refused: dict[str, NotAVolume] = {}
    left_out: dict[str, str] = {}
    for uid, members in by_series.items():
        images, foreign = _images_of(members)
        reason = reason_against(images, members)
        if reason and not (series_instance_uid and images):
            left_out[uid] = f"{series_name(members)} {reason}"
            continue
        try:
            refuse_several_patients(members)
            candidates.append(_Candidate(images, stack_of(images), foreign if images else ()))
        except NotAVolume as error:
            refused[uid] = error
            left_out[uid] = f"{series_name(members)} is no volume: {error}"
    if not candidates:
        raise none_usable(left_out, refused, by_series)
    best, *others = sorted(candidates, key=lambda candidate: candidate.rank)
    return _series_choice(best, others, [left_out[uid] for uid in refused])


def _single_image(by_series: dict[str, list[InstanceHeader]]) -> SeriesChoice | None:
    """The single image to segment, where no series has a slice that could be of a volume."""
    all_headers = [header for members in by_series.values() for header in members]
    if any(header.sop_class_uid in VOLUMES for header in all_headers):
        return None
    images = [
        header for header in all_headers if not is_screen(header) and header.series_instance_uid
    ]
    ranked = by_preference(images)
    if not ranked:
        return None
    chosen, *others = ranked
    refuse_several_patients(by_series[chosen.series_instance_uid])
    return SeriesChoice(
        chosen.series_instance_uid,
        (chosen,),
        unchosen_warning(chosen, others),
        explanation_of(chosen),
    )


def _by_series(headers: Sequence[InstanceHeader]) -> dict[str, list[InstanceHeader]]:
    """The images of each series of one study."""
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
    return dict(grouped)


def _requested(
    by_series: dict[str, list[InstanceHeader]], series_instance_uid: str | None
) -> dict[str, list[InstanceHeader]]:
    """All series, or the one that was asked for."""
    if series_instance_uid is None:
        return by_series
    if series_instance_uid not in by_series:
        names = bounded([series_name(members) for members in by_series.values()])
        raise NoUsableSeries(
            f"The study does not hold the series asked for, {series_instance_uid}. It holds: "
            f"{names}."
        )
    return {series_instance_uid: by_series[series_instance_uid]}


def _images_of(
    members: Sequence[InstanceHeader],
) -> tuple[tuple[InstanceHeader, ...], tuple[str, ...]]:
    """The images that can be slices, and a sentence about what else was filed in the series."""
    images: list[InstanceHeader] = []
    foreign: list[InstanceHeader] = []
    for header in members:
        slices = header.sop_class_uid in VOLUMES and not is_screen(header)
        (images if slices else foreign).append(header)
    return tuple(images), (left_out_of(members, foreign),) if foreign else ()


def _series_choice(
    best: _Candidate, others: Sequence[_Candidate], refused: Sequence[str]
) -> SeriesChoice:
    """The choice of `best`, with the warnings that the report must carry."""
    warnings = list(best.foreign)
    if not shows_anatomy(best.stack.planes[0]):
        warnings.append(
            f"{series_name(best.headers)} holds phase, real or imaginary images or maps: there was "
            "no usable magnitude."
        )
    if best.derived:
        warnings.append(
            f"{series_name(best.headers)} is derived (a reformat, or computed otherwise): no "
            "original series of its kind was a usable volume."
        )
    if not best.axial and MODALITY_RANK.get(modality_of(best.headers[0])) == 0:
        warnings.append(
            f"{series_name(best.headers)} is not axial: no axial series of its kind was a usable "
            "volume."
        )
    warnings += [f"Left out: {reason}" for reason in refused[:MOST_NAMED]]
    if len(refused) > MOST_NAMED:
        warnings.append(f"Left out for such reasons: {len(refused) - MOST_NAMED} more series.")
    beside = bounded([other.described() for other in others]) or "no other usable series"
    return SeriesChoice(
        series_instance_uid=best.headers[0].series_instance_uid,
        headers=best.headers,
        warnings=tuple(text[:1].upper() + text[1:] for text in warnings),
        explanation=f"Chosen: {best.described()}. Beside it: {beside}.",
    )
