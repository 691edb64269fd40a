"""The one normalisation: any CT, in HU or not, to 0..1 as through a window of level 40, width 400.

LiteMedSAM was trained on windowed CT, but what arrives is not always in Hounsfield units: exported
pictures are scaled to their own range. So the scale is measured on the patient. Two tissues are
always there, air around the body (-1000 HU) and soft tissue in it (about +70 HU in the portal
phase); a line through both gives HU, good to some 30 HU. On BTCV's un-windowed pictures this raised
the Dice of boxes drawn round the truth from 0.69 to 0.84 (mean over 13 organs, 34 slices of the
training patients, models/policies/locator/train.py has the log).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Pixels = NDArray[np.float32]
Stored = NDArray[Any]
"""Intensities of any numeric type and unit."""

AIR_HU = -1000.0
SOFT_TISSUE_HU = 70.0
WINDOW_HU = (-160.0, 240.0)
"""Level 40, width 400: MedSAM's window for CT."""

_PADDING_BAND = (0.02, 0.3)  # shares of the range; almost nothing lies there above padding
_PADDING_BETWEEN = 0.004
_PADDING_DEPTH = 3.0  # below air, in steps from air to tissue: -3024 lies 1.9 of them below
_PADDING_SHARE = 0.05  # of the pixels, at least, when a scanner padded the corners
_BODY_OPENING_PX = 3  # cuts the couch off the back
_LEAST_OUTSIDE = 0.01  # share of the slice that must be air for its level to be trusted
# of the body's median above air: fat and soft tissue, no bone or oral contrast
_TISSUE_RANGE = (0.8, 1.3)
# of a picture that was windowed before (`_already_windowed`): shares of the body, the range, soft
# tissue, the slice
_SATURATED_SHARE, _WINDOWED_LEVELS = 0.002, (0.4, 0.85)
_WINDOWED_FAT, _WINDOWED_FAT_SHARE = (0.05, 0.6), 0.03
# of what was windowed before it was stored in 8 bits (`display_scale`): shares at both ends
_CLIPPED_BELOW, _CLIPPED_ABOVE = 0.2, 0.003
_LEAST_WIDTH = 1e-6  # of a window, in stored units: a constant slice has none
_MEASURED_SLICES = 24  # of a volume; more change nothing


@dataclass(frozen=True)
class Scale:
    """How stored values map to 0..1: `low` becomes 0 and `high` 1, both in stored units."""

    low: float
    high: float

    def apply(self, pixels: Stored) -> Pixels:
        """`pixels` of any shape as float32 in 0..1; what lies outside the window is clipped."""
        width = max(self.high - self.low, _LEAST_WIDTH)
        levels: Pixels = (pixels.astype(np.float32) - np.float32(self.low)) / np.float32(width)
        return np.asarray(np.clip(levels, 0.0, 1.0), dtype=np.float32)


DISPLAY_LEVELS = Scale(0.0, 255.0)
"""Of a picture in colour, and of CT that was windowed before it was stored in 8 bits: as it is."""


def normalise(pixels: Stored, modality: str = "CT") -> Pixels:
    """A slice (y, x) or volume (z, y, x) in any unit as float32 in 0..1, same shape.

    CT is windowed on a scale measured inside the body, one for the whole array; everything else
    runs from the 0.5th to the 99.5th percentile of what is not zero (MedSAM's rule for MR). Raises
    ValueError for an array that is not 2-D or 3-D or holds values that are not finite.
    """
    if pixels.ndim not in (2, 3) or pixels.size == 0:
        raise ValueError(f"pixels must be a slice (y, x) or a volume (z, y, x), not {pixels.shape}")
    if not np.isfinite(pixels).all():
        raise ValueError("pixels hold values that are not finite")
    return measure(pixels, modality).apply(pixels)


def measure(pixels: Stored, modality: str = "CT") -> Scale:
    """The scale that `normalise` shows `pixels` on, for slices that are shown one at a time."""
    return measure_ct(pixels) if modality == "CT" else _percentiles(pixels[pixels != 0])


def measure_ct(pixels: Stored) -> Scale:
    """The window's two ends in the stored units of a CT slice (y, x) or volume (z, y, x).

    Slices are measured one by one and the median is taken, so that a few odd ones do no harm. What
    was windowed before (`display_scale`) is left as it is.
    """
    shown = display_scale(pixels)
    if shown is not None:
        return shown
    stack = pixels[None] if pixels.ndim == 2 else pixels
    count = min(len(stack), _MEASURED_SLICES)
    chosen = np.unique(np.linspace(0, len(stack) - 1, count).round().astype(int))
    scales = [_measure_slice(stack[z].astype(np.float32)) for z in chosen]
    low, high = np.median([(scale.low, scale.high) for scale in scales], axis=0)
    return Scale(float(low), float(high))


def display_scale(pixels: Stored) -> Scale | None:
    """The scale of a CT slice (y, x) or volume (z, y, x) that was windowed before it was stored in
    8 bits (MedSAM2's files, exported pictures): nobody can widen its window, so it is shown as it
    is, whatever is looked for. None for any other.

    It is told by what was clipped: air and lung at the floor, bone at the ceiling. A picture that
    was scaled to its own range has hardly a pixel there.
    """
    floor, ceiling = float(pixels.min()), float(pixels.max())
    if floor != 0 or not DISPLAY_LEVELS.high / 2 < ceiling <= DISPLAY_LEVELS.high:
        return None
    below, above = (float((pixels == end).mean()) for end in (floor, ceiling))
    clipped = below >= _CLIPPED_BELOW and above >= _CLIPPED_ABOVE
    return DISPLAY_LEVELS if clipped else None


def body_mask(slice_pixels: Pixels) -> NDArray[np.bool_]:
    """The patient (y, x) bool on a slice of any scale: the largest thing that is not air, holes
    filled.

    All True where nothing can be told apart.
    """
    solid = slice_pixels > otsu_level(slice_pixels)
    labels, count = ndimage.label(ndimage.binary_opening(solid, iterations=_BODY_OPENING_PX))
    if count == 0:
        return np.ones(slice_pixels.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_fill_holes(labels == sizes.argmax()))


def _measure_slice(slice_pixels: Pixels) -> Scale:
    """The window's ends on one slice (y, x); its percentiles where no air surrounds the body."""
    pixels = without_padding(slice_pixels)
    body = body_mask(pixels)
    tissue = pixels[body & (pixels > otsu_level(pixels))]
    if np.count_nonzero(~body) < _LEAST_OUTSIDE * body.size or tissue.size == 0:
        return _percentiles(pixels)
    air = float(np.median(pixels[~body]))
    soft_tissue = soft_tissue_level(tissue, air)
    if _already_windowed(pixels, body, soft_tissue):
        return Scale(float(pixels.min()), float(pixels.max()))
    # The line through (-1000 HU, air) and (70 HU, soft tissue) in stored units v:
    # v(h) = soft + (h - 70)·(soft - air) / 1070, read at the window's two ends
    per_hu = (soft_tissue - air) / (SOFT_TISSUE_HU - AIR_HU)
    low, high = (soft_tissue + (edge - SOFT_TISSUE_HU) * per_hu for edge in WINDOW_HU)
    return Scale(low, high)


def soft_tissue_level(tissue: Pixels, air: float) -> float:
    """The level of soft tissue: the median of the brighter of the body's two large classes, fat and
    soft.
    """
    # The median above air lies between fat (-100 HU) and soft tissue (+70 HU), at most a fifth of
    # the way from air apart; what is outside 0.8 to 1.3 of it is lung, bone or contrast. Of the
    # rest, Otsu's level parts fat from soft tissue
    middle = float(np.median(tissue)) - air
    least, most = (air + share * middle for share in _TISSUE_RANGE)
    usual = tissue[(tissue > least) & (tissue < most)]
    brighter = usual[usual > otsu_level(usual)] if usual.size else usual
    return float(np.median(brighter if brighter.size else tissue))


def _already_windowed(pixels: Pixels, body: NDArray[np.bool_], soft_tissue: float) -> bool:
    """Whether someone windowed the picture before.

    Then bone sits at its ceiling, soft tissue near its middle and fat far below soft tissue, where
    on a whole scale only lung lies.
    """
    floor, ceiling = float(pixels.min()), float(pixels.max())
    least, most = (floor + share * (ceiling - floor) for share in _WINDOWED_LEVELS)
    low, high = (floor + share * (soft_tissue - floor) for share in _WINDOWED_FAT)
    # shares of pixels: at the ceiling (of the body), and between 5 % and 60 % of the way from the
    # floor to soft tissue (of the slice), where fat lies after windowing
    saturated = float((pixels[body] >= ceiling).mean())
    fat = float(((pixels > low) & (pixels < high)).mean())
    return saturated > _SATURATED_SHARE and least < soft_tissue < most and fat > _WINDOWED_FAT_SHARE


def without_padding(slice_pixels: Pixels) -> Pixels:
    """The slice with padding (a lone lowest value, such as -3024 outside the scanner's circle)
    raised to air.

    What lies next above the lowest value is air only if tissue is not too near: after air without
    any noise, fat would be next.
    """
    floor, ceiling = float(slice_pixels.min()), float(np.percentile(slice_pixels, 99.5))
    near, far = (floor + share * (ceiling - floor) for share in _PADDING_BAND)
    above = slice_pixels[slice_pixels > near]
    between = float(((slice_pixels > near) & (slice_pixels < far)).mean())
    # padding is a lone spike: almost nothing lies between 2 % and 30 % of the range, and at least a
    # twentieth of the pixels lies below
    few = above.size == 0 or above.size > (1 - _PADDING_SHARE) * slice_pixels.size
    if few or between > _PADDING_BETWEEN:
        return slice_pixels
    next_level = float(np.percentile(above, 0.5))
    tissue = float(np.median(above[above >= otsu_level(above)]))
    if next_level - floor > _PADDING_DEPTH * (tissue - next_level):
        return slice_pixels
    return np.maximum(slice_pixels, np.float32(next_level))


def _percentiles(pixels: Stored) -> Scale:
    if pixels.size == 0:
        return Scale(0.0, 1.0)
    low, high = np.percentile(pixels, (0.5, 99.5))
    return Scale(float(low), float(high))


def otsu_level(pixels: Pixels, bins: int = 256) -> float:
    """The level that parts `pixels` into the two classes furthest apart.

    Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979.
    """
    # With n0 pixels below the level and n1 above, of N in all, s0 the sum of those below and s that
    # of all, the variance between the classes is, up to a constant factor,
    # n0·n1·(mean0 - mean1)² / N² = (s·n0/N - s0)² / (n0·n1); its maximum over the bins is sought
    counts, edges = np.histogram(pixels, bins)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(np.float64)
    total, mass = float(counts.sum()), np.cumsum(counts * centres)
    above = total - below
    apart = np.zeros(bins - 1)
    both = (below > 0) & (above > 0)
    gap = mass[-1] * below[both] / total - mass[:-1][both]
    apart[both] = gap**2 / (below[both] * above[both])
    return float(centres[apart.argmax()])
