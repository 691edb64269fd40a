"""Masks that are wrong as masks are: cut off, run over, beside the structure.

A review begins with one; the truth is what the reader makes of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from agent.training.clicks import iou

_WRONG = (0.2, 0.75)  # IoU of a damaged mask: worth a correction, and still of the structure
_TRIES = 12


def damaged(truth: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_] | None:
    """A wrong mask (rows, columns) bool of a structure that is not empty; None for one so small
    that it cannot be damaged and still be of it.
    """
    makers = (_cut, _overrun, _shifted)
    for _ in range(_TRIES):
        mask = makers[int(rng.integers(len(makers)))](truth, rng)
        if _WRONG[0] <= iou(mask, truth) <= _WRONG[1]:
            return mask
    return None


def _cut(truth: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """One side is missing, beyond a straight line in any direction."""
    along = _along(truth, rng)
    return truth & (along <= np.quantile(along[truth], rng.uniform(0.3, 0.7)))


def _overrun(truth: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """It goes on into what lies beside it, to one side."""
    along = _along(truth, rng)
    radius_px = max(2, round(float(np.sqrt(np.count_nonzero(truth) / np.pi) * rng.uniform(0.3, 1))))
    grown = ndimage.distance_transform_edt(~truth) <= radius_px
    return np.asarray(truth | (grown & (along > np.quantile(along[truth], 0.5))))


def _shifted(truth: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """It lies beside its place, by a part of its size."""
    angle, radius_px = rng.uniform(0, 2 * np.pi), np.sqrt(np.count_nonzero(truth) / np.pi)
    reach_px = max(1.0, radius_px * rng.uniform(0.3, 1.0))
    rows, columns = round(reach_px * np.sin(angle)), round(reach_px * np.cos(angle))
    padded = np.pad(truth, ((abs(rows),) * 2, (abs(columns),) * 2))
    return np.asarray(
        np.roll(padded, (rows, columns), (0, 1))[
            abs(rows) : abs(rows) + truth.shape[0], abs(columns) : abs(columns) + truth.shape[1]
        ]
    )


def _along(truth: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float64]:
    """How far each pixel lies in a direction that is drawn, in pixels from the image's corner."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.ogrid[: truth.shape[0], : truth.shape[1]]
    return np.asarray(rows * np.sin(angle) + columns * np.cos(angle), dtype=np.float64)
