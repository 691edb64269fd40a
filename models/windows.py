"""CT windows by structure: what part of the Hounsfield scale a reader looks at to see it.

Sources: MedSAM's preprocessing (abdomen), the windows of the MedSAM2 plug-in for 3D Slicer (lung, mediastinum,
brain), BiomedParse's table of low and high values (liver, pancreas, colon, pelvis), DeepLesion practice for bone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Window:
    """A stretch of the Hounsfield scale, `low_hu` shown black and `high_hu` white; `source` who proposes it."""

    name: str
    low_hu: float
    high_hu: float
    source: str

    def __str__(self) -> str:
        return f"{self.name} {self.low_hu:g}..{self.high_hu:g} HU"


def _level_width(name: str, level: float, width: float, source: str) -> Window:
    return Window(name, level - width / 2, level + width / 2, source)


ABDOMEN = _level_width("abdomen", 40, 400, "MedSAM")
LUNG = _level_width("lung", -600, 1500, "MedSAM2 for 3D Slicer")
MEDIASTINUM = _level_width("mediastinum", 50, 350, "MedSAM2 for 3D Slicer")
BRAIN = _level_width("brain", 40, 80, "MedSAM2 for 3D Slicer")
BONE = _level_width("bone", 400, 1800, "common practice")
LIVER = Window("liver", -25, 230, "BiomedParse")
PANCREAS = Window("pancreas", -100, 200, "BiomedParse")
COLON = Window("colon", -68, 187, "BiomedParse")
PELVIS = Window("pelvis", -55, 200, "BiomedParse")

WINDOWS = {
    window.name: window
    for window in (ABDOMEN, LUNG, MEDIASTINUM, BRAIN, BONE, LIVER, PANCREAS, COLON, PELVIS)
}

_BY_WORD = {
    "lung": LUNG,
    "lungs": LUNG,
    "trachea": LUNG,
    "bronchus": LUNG,
    "heart": MEDIASTINUM,
    "mediastinum": MEDIASTINUM,
    "brain": BRAIN,
    "liver": LIVER,
    "pancreas": PANCREAS,
    "colon": COLON,
    "bladder": PELVIS,
    "prostate": PELVIS,
    "uterus": PELVIS,
    "rib": BONE,
    "vertebra": BONE,
    "vertebrae": BONE,
    "femur": BONE,
    "hip": BONE,
    "sacrum": BONE,
    "skull": BONE,
}


def window_for(structure: str) -> Window:
    """The window for a structure's key or name ("left_lung", "liver"); the abdomen's where none is closer."""
    words = structure.lower().replace("_", " ").split()
    return next((_BY_WORD[word] for word in words if word in _BY_WORD), ABDOMEN)


def apply_window(hounsfield: NDArray[np.float32], window: Window) -> NDArray[np.float32]:
    """Hounsfield units of any shape as float32 in 0..1, clipped at the window's ends."""
    width = np.float32(window.high_hu - window.low_hu)
    shown = (hounsfield.astype(np.float32) - np.float32(window.low_hu)) / width
    clipped: NDArray[np.float32] = np.clip(shown, 0.0, 1.0)
    return clipped
