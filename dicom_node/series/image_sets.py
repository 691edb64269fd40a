"""What tells the images of several volumes at one place apart, and which of them comes first.

A series may hold magnitude and phase, originals and what was computed from them, water and fat,
echoes, b-values, cardiac phases, or the same region again and again. `AXES` is the order in which
they are told apart; on each axis the preferred value comes first: magnitude, original,
water, the soft kernel, the first echo, the lowest b-value, the first phase, the first acquisition.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from dicom_node.series.kernels import is_sharp
from dicom_node.series.plane import Plane, number_in


@dataclass(frozen=True, order=True)
class SetValue:
    """One value on an axis: sorted by `rank`, then by `text`. `label` is what may be said of it."""

    rank: float
    text: str
    label: str = ""


@dataclass(frozen=True)
class Axis:
    """One way in which sets of images differ.

    `name` is for people. On an axis of `kind` other values show something else, so that only the
    first value is ever taken; on the others, the first set that is whole. On a `timed` axis two
    halves of one interleaved scan differ, too.
    """

    name: str
    value: Callable[[Plane], SetValue]
    kind: bool = False
    timed: bool = False


MAGNITUDE, WATER = "magnitude", "water"
_UNKNOWN_COMPONENT, _UNKNOWN_CONTRAST = SetValue(1, ""), SetValue(1.5, "")
_COMPONENTS = {
    name: SetValue(rank, name, name)
    for rank, name in ((0, MAGNITUDE), (2, "real"), (3, "imaginary"), (4, "phase"), (5, "map"))
}
# Image Type from value 3 on (PS3.3 C.8.3.1.1.1, C.8.13.3.1.1); Siemens writes one letter, Philips
# M_FFE, R_SE and the like
_COMPONENT_WORDS = {
    "M": MAGNITUDE, "MAG": MAGNITUDE, "MAGNITUDE": MAGNITUDE,
    "R": "real", "REAL": "real",
    "I": "imaginary", "IMAG": "imaginary", "IMAGINARY": "imaginary",
    "P": "phase", "PHASE": "phase", "PHASE MAP": "phase",
    "VELOCITY": "phase", "VELOCITY MAP": "phase",
    "B0 MAP": "map", "B1 MAP": "map", "T1 MAP": "map", "T2 MAP": "map", "T2_STAR_MAP": "map",
    "ADC": "map", "FA": "map",
}  # fmt: skip
# (0043,102F) of GE: what an image shows of the complex signal
_GE_COMPONENTS = {"0": MAGNITUDE, "1": "phase", "2": "real", "3": "imaginary"}
_CONTRASTS = {
    name: SetValue(rank, name, name)
    for rank, name in (
        (0, WATER), (1, "in phase"), (2, "opposed phase"), (3, "fat"), (4, "fraction"),
    )
}  # fmt: skip
# Image Type of Dixon images, without blanks and underscores
_CONTRAST_WORDS = {
    "W": WATER, "WATER": WATER, "DIXONW": WATER, "WATERONLY": WATER,
    "IP": "in phase", "IN": "in phase", "INPHASE": "in phase",
    "OP": "opposed phase", "OPP": "opposed phase", "OPPPHASE": "opposed phase",
    "OPPOSEDPHASE": "opposed phase",
    "OUTPHASE": "opposed phase", "OUTOFPHASE": "opposed phase", "OUTPHS": "opposed phase",
    "F": "fat", "FAT": "fat", "DIXONF": "fat", "FATONLY": "fat",
    "FF": "fraction", "WF": "fraction", "FATFRACTION": "fraction", "WATERFRACTION": "fraction",
    "FATFRAC": "fraction",
}  # fmt: skip
# of Image Type; the first two are ORIGINAL or DERIVED, and PRIMARY or SECONDARY
_FIRST_FREE_VALUE = 2
# not the fat of "fat sat"
_CONTRAST_IN_TEXT = re.compile(
    r"\b(?:(?:in|opp|opposed|out|out of)[ _-]?phase|(?:water|fat)(?![ _-]?(?:sat|sup)))\b"
)
_LONGEST_LABEL = 40  # characters
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def component_of(plane: Plane) -> SetValue:
    """The component of the complex MR signal: by (0008,9208), GE's attribute, or Image Type."""
    stated = plane.phase.get("ComplexImageComponent", "").upper()
    name = _COMPONENT_WORDS.get(stated) or _GE_COMPONENTS.get(plane.phase.get("GEComponent", ""))
    return _COMPONENTS[name] if name else _component_in(plane.image_type)


def _component_in(image_type: tuple[str, ...]) -> SetValue:
    for place, value in enumerate(image_type[_FIRST_FREE_VALUE:]):
        word = value.upper().strip()
        if len(word) == 1 and place:
            continue  # a letter elsewhere than in value 3 says something else
        name = _COMPONENT_WORDS.get(word)
        if name is None and re.fullmatch(r"[MRIP]_(FFE|SE|IR|TSE|PCA|GE|B0|B1|EPI)", word):
            name = _COMPONENT_WORDS[word[0]]
        if name is not None:
            return _COMPONENTS[name]
    return _UNKNOWN_COMPONENT


def shows_anatomy(plane: Plane) -> bool:
    """Whether grey values are signal, not a phase, real or imaginary image, or a map."""
    return component_of(plane).rank <= _UNKNOWN_COMPONENT.rank


def contrast_of(plane: Plane) -> SetValue:
    """Water, in phase, opposed phase, fat, by Image Type."""
    for value in plane.image_type[_FIRST_FREE_VALUE:]:
        name = _CONTRAST_WORDS.get(re.sub(r"[\s_-]", "", value.upper()))
        if name is not None:
            return _CONTRASTS[name]
    return _UNKNOWN_CONTRAST


def _contrast(plane: Plane) -> SetValue:
    """As `contrast_of`, else by a word of the descriptions."""
    stated = contrast_of(plane)
    texts = (plane.phase.get(keyword, "") for keyword in ("ImageComments", "SeriesDescription"))
    words = [match[0] for text in texts for match in _CONTRAST_IN_TEXT.finditer(text.lower())]
    if stated != _UNKNOWN_CONTRAST or not words:
        return stated
    return _CONTRASTS[_CONTRAST_WORDS[re.sub(r"[\s_-]", "", words[0].upper())]]


def _original(plane: Plane) -> SetValue:
    return (
        SetValue(1, "derived", "derived") if plane.derived else SetValue(0, "original", "original")
    )


def _kernel(plane: Plane) -> SetValue:
    kernel = plane.phase.get("ConvolutionKernel", "")
    return SetValue(float(is_sharp(kernel)), kernel, _shown(kernel))


def _shown(text: str) -> str:
    """A value as a sentence may hold it: short, and on one line."""
    return ascii(text)[1:-1][:_LONGEST_LABEL] if not text.isprintable() else text[:_LONGEST_LABEL]


def _by_number(keyword: str) -> Callable[[Plane], SetValue]:
    """Numbers by size, other texts after them."""

    def value(plane: Plane) -> SetValue:
        text = plane.phase.get(keyword, "")
        number = number_in(text)
        return SetValue(float("inf") if number is None else number, text, _shown(text))

    return value


def _percentage(plane: Plane) -> SetValue:
    """The part of the cardiac or respiratory cycle, often written into a description alone."""
    for keyword in ("NominalPercentageOfCardiacPhase", "NominalPercentageOfRespiratoryPhase"):
        number = number_in(plane.phase.get(keyword, ""))
        if number is not None:
            return SetValue(number, "", f"{number:g} %")
    for keyword in ("ImageComments", "SeriesDescription"):
        match = _PERCENT.search(plane.phase.get(keyword, ""))
        if match:
            return SetValue(float(match[1]), "", f"{float(match[1]):g} %")
    return SetValue(float("inf"), "")


def _comments(plane: Plane) -> SetValue:
    """Sorted by their number; without a label, because free text may name the patient."""
    text = plane.phase.get("ImageComments", "")
    digits = re.search(r"\d+(?:\.\d+)?", text)
    return SetValue(float(digits[0]) if digits else float("inf"), text)


def _numbers(*keywords: str, timed: bool = False) -> tuple[Axis, ...]:
    return tuple(Axis(keyword, _by_number(keyword), timed=timed) for keyword in keywords)


#: In the order in which sets are told apart.
AXES: tuple[Axis, ...] = (
    Axis("component", component_of, kind=True),
    Axis("ORIGINAL or DERIVED", _original, kind=True),
    Axis("Dixon contrast", _contrast, kind=True),
    Axis("ConvolutionKernel", _kernel),
    *_numbers("EchoNumbers", "EchoTime", "EffectiveEchoTime", "InversionTime", "FlipAngle", "KVP"),
    *_numbers("DiffusionBValue", "DiffusionDirectionality", "DiffusionGradientOrientation"),
    *_numbers("TemporalPositionIdentifier", "TemporalPositionIndex"),
    Axis("phase of the cycle", _percentage),
    *_numbers("TriggerTime", "CardiacCyclePosition"),
    *_numbers("AcquisitionNumber", "FrameAcquisitionNumber", "StackID"),
    *_numbers(
        "FrameReferenceTime", "AcquisitionDateTime", "AcquisitionTime", "ContentTime", timed=True
    ),
    *_numbers("ImageType", "FrameType"),
    Axis("ImageComments", _comments),
    *_numbers("SOPInstanceUID"),
)  # fmt: skip
TIMES = ("AcquisitionDateTime", "AcquisitionTime", "ContentTime")
