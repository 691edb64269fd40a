"""CT windows by structure: what part of the Hounsfield scale a reader looks at to see it.

Structures with the same window share a slice's encoding, so there are few. BiomedParse's narrower
windows for liver (-25..230), pancreas (-100..200) and colon (-68..187) all lie within the abdomen's
and would each cost another pass of the encoder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from models.images.normalise import WINDOW_HU, Scale


@dataclass(frozen=True)
class Window:
    """A stretch of the Hounsfield scale, `low_hu` shown black and `high_hu` white; `source` who
    proposes it.
    """

    name: str
    low_hu: float
    high_hu: float
    source: str

    def __str__(self) -> str:
        return f"{self.name} {self.low_hu:g}..{self.high_hu:g} HU"


ABDOMEN = Window("abdomen", *WINDOW_HU, source="MedSAM: level 40, width 400")
LUNG = Window("lung", -1350, 150, source="MedSAM2 for 3D Slicer: level -600, width 1500")
MEDIASTINUM = Window("mediastinum", -125, 225, source="MedSAM2 for 3D Slicer: level 50, width 350")
BRAIN = Window("brain", 0, 80, source="MedSAM2 for 3D Slicer: level 40, width 80")
BONE = Window("bone", -500, 1300, source="common practice: level 400, width 1800")
WINDOWS = {window.name: window for window in (ABDOMEN, LUNG, MEDIASTINUM, BRAIN, BONE)}

_LUNG = ("lung", "lungs", "trachea", "bronchus", "bronchi", "airways", "pneumothorax")
_MEDIASTINUM = (
    *(
        "heart",
        "mediastinum",
        "atrium",
        "atrial appendage",
        "ventricle",
        "myocardium",
        "pericardium",
    ),
    *("ventricular myocardium", "pericardial", "coronary arteries", "aortic valve", "mitral valve"),
)
_BRAIN = (
    *(
        "brain",
        "cerebellum",
        "brainstem",
        "hippocampus",
        "amygdala",
        "thalamus",
        "caudate",
        "putamen",
    ),
    *("pallidus", "accumbens", "lateral ventricle", "third ventricle", "fourth ventricle"),
    *("corpus callosum", "cerebral", "gray matter", "cerebrospinal fluid", "frontal lobe"),
    *("parietal lobe", "temporal lobe", "occipital lobe", "insula", "pituitary", "peritumoral"),
    "necrotic tumour core",
)
_BONE = (
    *("bone", "bones", "rib", "ribs", "vertebra", "vertebrae", "vertebral", "spine", "sternum"),
    *(
        "femur",
        "hip",
        "sacrum",
        "coccyx",
        "skull",
        "clavicle",
        "scapula",
        "humerus",
        "radius",
        "ulna",
    ),
    *("tibia", "fibula", "patella", "mandible", "maxilla"),
)
_BY_NAME = {
    **dict.fromkeys(_LUNG, LUNG),
    **dict.fromkeys(_MEDIASTINUM, MEDIASTINUM),
    **dict.fromkeys(_BRAIN, BRAIN),
    **dict.fromkeys(_BONE, BONE),
}
# "lateral ventricle" before "ventricle"
_LONGEST_FIRST = sorted(_BY_NAME, key=len, reverse=True)


def window_for(structure: str) -> Window:
    """The window for a structure's key or name ("left_lung", "liver"); the abdomen's where none is
    closer.
    """
    name = f" {structure.lower().replace('_', ' ')} "
    return next((_BY_NAME[term] for term in _LONGEST_FIRST if f" {term} " in name), ABDOMEN)


_NUMBER = r"([+-]?\d+(?:\.\d+)?)"
_ENDS = re.compile(rf"{_NUMBER}(?:\.\.|,){_NUMBER}", re.ASCII)
_LEVEL_AND_WIDTH = re.compile(rf"{_NUMBER}/{_NUMBER}", re.ASCII)
_MOST_LETTERS = 32


def window_from(text: str) -> Window:
    """The window that a user writes: its ends ("-160..240", "-160,240"), level and width
    ("40/400"), or a name ("lung").

    ValueError, in a sentence, for anything else and for a window without width.
    """
    if text in WINDOWS:
        return WINDOWS[text]
    ends = _ENDS.fullmatch(text)
    level_and_width = _LEVEL_AND_WIDTH.fullmatch(text)
    if ends and len(text) <= _MOST_LETTERS:
        low, high = (float(end) for end in ends.groups())
    elif level_and_width and len(text) <= _MOST_LETTERS:
        level, width = (float(number) for number in level_and_width.groups())
        low, high = level - width / 2, level + width / 2
    else:
        raise ValueError(
            "a window is written as -160..240 (its ends) or 40/400 (level/width), or named: "
            + ", ".join(WINDOWS)
        )
    if not low < high:
        raise ValueError(f"a window ends above where it begins: {text} has no width")
    return Window("asked for", low, high, source="the user")


def seen_through(measured: Scale, window: Window) -> Scale:
    """The scale that shows `window`, from one that was `measured` to show the abdomen's.

    A volume in Hounsfield units measures close to -160..240; other units, or a scanner that is off,
    are put right.
    """
    # v(h) = low + (h - abdomen's low)·(high - low) / (abdomen's width in HU), read at other h
    stored_per_hu = (measured.high - measured.low) / (ABDOMEN.high_hu - ABDOMEN.low_hu)
    low, high = (
        measured.low + (hu - ABDOMEN.low_hu) * stored_per_hu
        for hu in (window.low_hu, window.high_hu)
    )
    return Scale(low, high)
