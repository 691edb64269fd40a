"""Rescale Slope, Intercept and Type: what stored values mean, and whether in all frames alike.

Real World Value Mapping is another, optional scale beside this one (PS3.3 C.7.6.16.2.11): it is
never applied.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median

import numpy as np

from dicom_node.datasets.attribute_values import decimal, shown_term, term
from dicom_node.errors import EXPORT_AGAIN, NotAVolume, UnusableValue
from dicom_node.series.multiframe import FunctionalGroups
from dicom_node.series.plane import Plane, named

_MACRO = "PixelValueTransformationSequence"
# stored values have up to 32 bits: below this factor none of them can leave float32
_LARGEST = float(np.finfo(np.float32).max) / 2**32
_SMALLEST = float(np.finfo(np.float32).tiny)
# PET slopes follow the highest value of their slice; no slice is that much hotter than the others
_OUTLIER = 1000.0


@dataclass(frozen=True)
class Rescale:
    """Intensity = stored * `slope` + `intercept`, in `unit_name` (Rescale Type, or Units of PET).

    `stated` where slope and intercept are both in the file; else they are 1 and 0.
    """

    slope: float = 1.0
    intercept: float = 0.0
    stated: bool = False
    unit_name: str = ""


Scaled = tuple[Plane, Rescale]


def rescale_of(groups: FunctionalGroups, index: int, modality: str) -> Rescale:
    """The rescale of a zero-based frame (PS3.3 C.11.1, C.7.6.16.2.9; PET C.8.9.4).

    UnusableValue names an attribute that cannot be used.
    """
    slope = _number(groups, "RescaleSlope", index)
    intercept = _number(groups, "RescaleIntercept", index)
    if slope is not None and (slope == 0 or not _SMALLEST <= abs(slope) <= _LARGEST):
        raise UnusableValue(
            "Rescale Slope", f"is {slope:g}, which makes all values alike or none a number"
        )
    if intercept is not None and abs(intercept) > _LARGEST:
        raise UnusableValue("Rescale Intercept", f"is {intercept:g}, which no value can be")
    if intercept is None and slope is not None and modality == "PT":
        intercept = 0.0  # as it always is for PET (PS3.3 C.8.9.4)
    return Rescale(
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        stated=slope is not None and intercept is not None,
        unit_name=_unit_name(groups, index, modality),
    )


def _number(groups: FunctionalGroups, keyword: str, index: int) -> float | None:
    return decimal(groups.holder(_MACRO, keyword, index), keyword)


def _unit_name(groups: FunctionalGroups, index: int, modality: str) -> str:
    if modality == "PT":
        units = term(groups.holder(_MACRO, "Units", index), "Units")
        if units:
            return units
    return term(groups.holder(_MACRO, "RescaleType", index), "RescaleType")


def judge_scales(scaled: Sequence[Scaled], modality: str) -> tuple[str, ...]:
    """Refuse slices on another scale or in another unit than the rest, or warn of them.

    NotAVolume names the instances. PET slopes differ from slice to slice as a rule. CT is judged by
    its values, too (dicom_node.volume.hounsfield).
    """
    _refuse_several_units(scaled, modality)
    without = [(plane, scale) for plane, scale in scaled if not scale.stated]
    if without and len(without) < len(scaled):
        return _judge_lacking(scaled, without, modality)
    if modality == "PT":
        return _tell_pet(scaled, without)
    return _tell_minority(scaled, lambda scale: (scale.slope, scale.intercept))


def _refuse_several_units(scaled: Sequence[Scaled], modality: str) -> None:
    groups = _grouped(scaled, lambda scale: _known_unit(scale.unit_name, modality))
    if len(groups) > 1:
        attribute = "Units or Rescale Type" if modality == "PT" else "Rescale Type"
        listing = "; ".join(
            f"{shown_term(group[0][1].unit_name) or 'none'} in {_named(group)}"
            for group in groups[:4]
        )
        raise NotAVolume(
            f"{attribute} differs within the series: {listing}. Values of several units make no "
            "volume: "
            "send each as a series of its own."
        )


def _known_unit(name: str, modality: str) -> str:
    """The unit that is meant by none: HU for CT (PS3.3 C.8.2.1), else unspecified (C.11.1.1.2)."""
    return name or ("HU" if modality == "CT" else "US")


def _judge_lacking(
    scaled: Sequence[Scaled], without: Sequence[Scaled], modality: str
) -> tuple[str, ...]:
    """Judge slices without a scale: they share that of the others only if it is neutral."""
    others = [scale for _, scale in scaled if scale.stated]
    lacking = f"Rescale Slope or Rescale Intercept is missing in {_named(without)}"
    neutral = all((scale.slope, scale.intercept) == (1.0, 0.0) for scale in others)
    if modality == "MR" and neutral and all(scale.slope == 1.0 for _, scale in without):
        return (f"{lacking}; the other slices are not rescaled either.",)
    raise NotAVolume(
        f"{lacking} and there in the other slices: their grey values are on another scale. "
        f"{EXPORT_AGAIN}"
    )


def _tell_pet(scaled: Sequence[Scaled], without: Sequence[Scaled]) -> tuple[str, ...]:
    if without:
        return (
            (
                f"Rescale Slope is missing in {_named(without)}: stored values were taken as they "
                "are, "
                "in no known unit."
            ),
        )
    usual = median(scale.slope for _, scale in scaled)
    odd = [
        (plane, scale)
        for plane, scale in scaled
        if not 1 / _OUTLIER < scale.slope / usual < _OUTLIER
    ]
    warnings = _tell_minority(scaled, lambda scale: scale.intercept)
    if odd:
        doubt = f"more than a thousand times another than usual ({usual:g})"
        warnings += (
            f"Rescale Slope of {_named(odd)} is {doubt}: these slices may be on another scale.",
        )
    return warnings


def _tell_minority(scaled: Sequence[Scaled], key: Callable[[Rescale], Hashable]) -> tuple[str, ...]:
    """A sentence that names the minority where most slices are scaled alike."""
    groups = sorted(_grouped(scaled, key), key=len, reverse=True)
    if len(groups) < 2 or 2 * len(groups[0]) < len(scaled):
        return ()
    usual, odd = groups[0][0][1], list(chain.from_iterable(groups[1:]))
    other = f"differs from that of the other slices ({usual.slope:g} and {usual.intercept:g})"
    return (
        (
            f"Rescale Slope or Rescale Intercept of {_named(odd)} {other}: each slice was rescaled "
            "by "
            "its own."
        ),
    )


def _grouped(scaled: Sequence[Scaled], key: Callable[[Rescale], Hashable]) -> list[list[Scaled]]:
    groups: dict[Hashable, list[Scaled]] = {}
    for plane, scale in scaled:
        groups.setdefault(key(scale), []).append((plane, scale))
    return list(groups.values())


def _named(scaled: Sequence[Scaled]) -> str:
    return named(plane for plane, _ in scaled)
