"""Whether values can be Hounsfield units: water 0, air -1000 (PS3.3 C.11.1.1.2, HU).

A wrong sign or scale gives plausible numbers, but not those of a body: a body is never bright
throughout without something as dark as fat or air beside it, nor without anything like water.
Padding is no image and proves nothing. The shares below are of the voxels outside padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import EXPORT_AGAIN, NotAVolume
from dicom_node.series.plane import Plane, named

AIR_HU = -1024.0
# 16 bits and slopes to 10: extended scales run from -10,240 to 30,710 (metal) and 32,767
_LOWEST_HU, _HIGHEST_HU = -10_240.0, 32_767.0
_DARK_HU = (-1100.0, -100.0)  # air, lung, fat
_SOFT_HU = (-150.0, 250.0)  # fat, water, soft tissue, contrast
_BRIGHT_HU = 700.0  # dense bone, metal
_AIR_HU = (-1050.0, -950.0)  # air in the image, without the value that fills what is none
_LEAST_SHARE = 0.001  # of all voxels; a body has hundreds of times as many of either
_PROOF_AIR, _PROOF_SOFT = 0.01, 0.05  # least shares where the header states no scale
# as much brightness without anything dark is soft tissue or air on another scale, not bone
_MUCH_BRIGHT = 0.1
_MOST_BELOW_AIR = 0.3  # corners beyond the scanner's circle are 0.21; lossy compression blurs them
_USUAL_SHARE, _NO_SHARE = 0.05, 0.0001  # of a slice, against the series


@dataclass(frozen=True)
class Tally:
    """A slice counted without its padding: voxels by range, `lowest` and `highest` intensity.

    `filled` voxels had one value below anything that CT can show, and count as padding.
    """

    voxels: int = 0
    dark: int = 0
    soft: int = 0
    bright: int = 0
    air: int = 0
    below_air: int = 0
    filled: int = 0
    lowest: float = np.inf
    highest: float = -np.inf


Tallied = tuple[Plane, Tally]


def tally(values: NDArray[np.float32], padding: NDArray[np.bool_]) -> Tally:
    """Count a slice (rows, columns) after rescale, except where `padding` is set.

    If its lowest value is below anything that CT can show, `values` gets air in its place.
    """
    image = values[~padding] if padding.any() else values.ravel()
    if not image.size:
        return Tally()
    lowest, filled = float(image.min()), 0
    if lowest < _LOWEST_HU:
        fill = values == lowest
        filled = int(np.count_nonzero(fill))
        values[fill] = AIR_HU
        image = image[image != lowest]
        lowest = float(image.min()) if image.size else np.inf
    dark, soft, air = (_within(image, span) for span in (_DARK_HU, _SOFT_HU, _AIR_HU))
    return Tally(
        voxels=image.size,
        dark=dark,
        soft=soft,
        bright=int(np.count_nonzero(image >= _BRIGHT_HU)),
        # AIR_HU itself fills what is no image, and proves nothing about the scale
        air=air - int(np.count_nonzero(image == AIR_HU)),
        below_air=int(np.count_nonzero((image < _DARK_HU[0]) & (image > lowest))),
        filled=filled,
        lowest=lowest,
        highest=float(image.max()) if image.size else -np.inf,
    )


def is_tissue(padded: NDArray[np.float32]) -> bool:
    """Whether padding values (n,) lie among those of a body, so that removal would make holes."""
    return bool(((padded >= _SOFT_HU[0]) & (padded <= _SOFT_HU[1])).any())


def _within(image: NDArray[np.float32], span: tuple[float, float]) -> int:
    return int(np.count_nonzero((image >= span[0]) & (image <= span[1])))


def judge_hounsfield(tallied: Sequence[Tallied]) -> tuple[str, ...]:
    """NotAVolume for CT slices whose values cannot be Hounsfield units.

    Returns a sentence where padding was guessed.
    """
    _refuse_beyond(tallied)
    doubt = _doubt(total(tallied))
    if doubt:
        raise _not_hounsfield(named(plane for plane, _ in tallied), doubt)
    odd = _on_another_scale(tallied)
    if odd:
        doubt = "unlike the other slices they hold nothing as dark as fat or air"
        raise _not_hounsfield(named(odd), doubt)
    filled = [plane for plane, counts in tallied if counts.filled]
    if not filled:
        return ()
    return (
        (
            f"Values below {_LOWEST_HU:,.0f} HU in {named(filled)} are no image and were taken as "
            "padding."
        ),
    )


def looks_hounsfield(tallied: Sequence[Tallied]) -> bool:
    """Whether values alone prove to be Hounsfield units: air where air is, and soft tissue."""
    counts = total(tallied)
    proven = counts.air >= _PROOF_AIR * counts.voxels and counts.soft >= _PROOF_SOFT * counts.voxels
    return bool(counts.voxels) and proven and counts.highest <= _HIGHEST_HU


def total(tallied: Sequence[Tallied]) -> Tally:
    """All slices together."""
    tallies = [counts for _, counts in tallied]
    sums = {
        name: sum(getattr(counts, name) for counts in tallies)
        for name in ("voxels", "dark", "soft", "bright", "air", "below_air", "filled")
    }
    return Tally(
        **sums,
        lowest=min((counts.lowest for counts in tallies), default=np.inf),
        highest=max((counts.highest for counts in tallies), default=-np.inf),
    )


def _refuse_beyond(tallied: Sequence[Tallied]) -> None:
    odd = [
        (plane, counts)
        for plane, counts in tallied
        if counts.voxels and (counts.lowest < _LOWEST_HU or counts.highest > _HIGHEST_HU)
    ]
    if odd:
        counts = total(odd)
        span = f"they run from {counts.lowest:,.0f} to {counts.highest:,.0f} HU"
        raise _not_hounsfield(
            named(plane for plane, _ in odd),
            f"{span}, and CT shows {_LOWEST_HU:,.0f} to {_HIGHEST_HU:,.0f} HU",
        )


def _doubt(counts: Tally) -> str:
    """What speaks against Hounsfield units, empty where nothing does."""
    if not counts.voxels:
        return ""
    span = f"(they run from {counts.lowest:,.0f} to {counts.highest:,.0f} HU)"
    if _bright_without_dark(counts, _LEAST_SHARE):
        return f"much is as bright as bone, and nothing as dark as fat or air {span}"
    if counts.soft < _LEAST_SHARE * counts.voxels:
        return f"nothing is like water or soft tissue {span}"
    if counts.below_air > _MOST_BELOW_AIR * counts.voxels:
        return f"{100 * counts.below_air / counts.voxels:.0f} % of them are darker than air"
    return ""


def _bright_without_dark(counts: Tally, least_share: float) -> bool:
    dark, bright = counts.dark / counts.voxels, counts.bright / counts.voxels
    return dark < least_share and bright > _MUCH_BRIGHT


def _on_another_scale(tallied: Sequence[Tallied]) -> list[Plane]:
    """The slices that are bright without anything dark, where the series has dark."""
    imaged = [(plane, counts) for plane, counts in tallied if counts.voxels]
    if not imaged or median(counts.dark / counts.voxels for _, counts in imaged) < _USUAL_SHARE:
        return []
    return [plane for plane, counts in imaged if _bright_without_dark(counts, _NO_SHARE)]


def _not_hounsfield(names: str, doubt: str) -> NotAVolume:
    return NotAVolume(
        f"The values of {names} cannot be Hounsfield units: {doubt}. Pixel Representation (signed "
        "or unsigned), Rescale "
        f"Slope or Rescale Intercept do not fit the stored values. {EXPORT_AGAIN}"
    )
