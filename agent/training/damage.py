"""Masks that are wrong as masks are: cut off, run over, beside the structure.

A review begins with one, a carried slice is shown one; the truth is what the reader makes of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from agent.training.clicks import iou

_TRIES = 12
_WRONG_CHANCE = 0.2  # of a drawn mask to be a wrong one


@dataclass(frozen=True)
class _Degree:
    """How far a mask may be off: `iou` with the structure, the share of it that is `left` where a
    side is cut, and how far it goes beyond or aside, in equivalent radii (`reach`).
    """

    iou: tuple[float, float]
    left: tuple[float, float]
    reach: tuple[float, float]
    least_px: int


_WRONG = _Degree((0.2, 0.75), (0.3, 0.7), (0.3, 1.0), least_px=2)  # worth a correction
_ROUGH = _Degree((0.75, 0.97), (0.8, 0.97), (0.02, 0.2), least_px=1)  # two readers differ so


def damaged(truth: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_] | None:
    """A wrong mask (rows, columns) bool of a structure that is not empty; None for one so small
    that it cannot be damaged and still be of it.
    """
    return _off(truth, _WRONG, rng)


def as_drawn(truth: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A mask (rows, columns) bool of a structure that is not empty as a program draws it: nearly
    right, now and then wrong; the structure itself where it is too small for either.
    """
    degree = _WRONG if rng.random() < _WRONG_CHANCE else _ROUGH
    mask = _off(truth, degree, rng)
    return truth if mask is None else mask


def _off(
    truth: NDArray[np.bool_], degree: _Degree, rng: np.random.Generator
) -> NDArray[np.bool_] | None:
    makers = (_cut, _overrun, _shifted)
    for _ in range(_TRIES):
        mask = makers[int(rng.integers(len(makers)))](truth, degree, rng)
        if degree.iou[0] <= iou(mask, truth) <= degree.iou[1]:
            return mask
    return None


def _cut(truth: NDArray[np.bool_], degree: _Degree, rng: np.random.Generator) -> NDArray[np.bool_]:
    """One side is missing, beyond a straight line in any direction."""
    along = _along(truth, rng)
    return truth & (along <= np.quantile(along[truth], rng.uniform(*degree.left)))


def _overrun(
    truth: NDArray[np.bool_], degree: _Degree, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """It goes on into what lies beside it, to one side."""
    along = _along(truth, rng)
    radius_px = float(np.sqrt(np.count_nonzero(truth) / np.pi))
    reach_px = max(degree.least_px, round(radius_px * rng.uniform(*degree.reach)))
    grown = ndimage.distance_transform_edt(~truth) <= reach_px
    return np.asarray(truth | (grown & (along > np.quantile(along[truth], 0.5))))


def _shifted(
    truth: NDArray[np.bool_], degree: _Degree, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """It lies beside its place, by a part of its size."""
    angle, radius_px = rng.uniform(0, 2 * np.pi), np.sqrt(np.count_nonzero(truth) / np.pi)
    reach_px = max(1.0, radius_px * rng.uniform(*degree.reach))
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
