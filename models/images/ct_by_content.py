"""Whether a grey picture that does not say its modality is CT, told by its grey levels.

In CT soft tissue differs little: fat, muscle and organs lie within a fifth of the way from air to
soft tissue (-1000 to +70 HU), and bone about half as far again from air. In MR tissue fills the
whole range, or vessels and fat lie far above all the rest.
"""

from __future__ import annotations

import numpy as np

from models.images.normalise import (
    Stored,
    body_mask,
    otsu_level,
    soft_tissue_level,
    without_padding,
)

# Shares of the way from air to soft tissue. Set on BTCV's training patients, un-windowed pictures
# of the abdomen: 118 of 121 are within. None of 83 slices of MR is (atrium, heart, brain: three
# data sets and two of MedScribble), nor is CT that was windowed before (9 slices), nor but one of
# 14 slices of a head, where bone is most of what is bright: what is not told stays untold.
_MOST_SPREAD = 0.32
"""Between the 10th and 90th percentile of the body."""
_LEAST_AIR = 0.05  # share of the picture
# Soft tissue on the way from air to the brightest bone or contrast
_SOFT_TISSUE = (0.48, 0.8)
_BRIGHTEST_PERCENTILE = 99.9


def looks_like_ct(pixels: Stored) -> bool:
    """Whether a slice (y, x) of any unit has the grey levels of an un-windowed CT of a body.

    False where it cannot be told: a head, a crop without air, CT that was windowed before.
    """
    if pixels.min() == pixels.max():
        return False
    levels = without_padding(pixels.astype(np.float32))
    body = body_mask(levels)
    tissue = levels[body & (levels > otsu_level(levels))]
    around = levels[~body]
    if around.size < _LEAST_AIR * levels.size or tissue.size == 0:
        return False
    air = float(np.median(around))
    to_soft_tissue = soft_tissue_level(tissue, air) - air
    if to_soft_tissue <= 0:
        return False
    tenth, ninetieth = np.percentile(tissue, (10, 90))
    brightest = float(np.percentile(levels, _BRIGHTEST_PERCENTILE)) - air
    least, greatest = _SOFT_TISSUE
    return bool(
        ninetieth - tenth <= _MOST_SPREAD * to_soft_tissue
        and least * brightest <= to_soft_tissue <= greatest * brightest
    )
