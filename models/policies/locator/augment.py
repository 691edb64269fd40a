"""Making other patients and scanners out of a labelled slice, before the segmenter's encoder sees
it.

No left-right flips: the side is what tells a left kidney from a right one.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from models.images.normalise import AIR_HU, WINDOW_HU, measure_ct

ROTATION_DEG = 15.0
SCALE = (0.75, 1.3)
ASPECT = 0.08  # natural logarithm of height against width
SHIFT = 0.12  # of half the field of view
BEND = 0.012  # deviation of the displacement grid, of half the field of view
_BEND_NODES = 6
ENHANCEMENT_HU = 25.0  # deviation of one organ's level: another phase of the contrast medium
NOISE_HU = (5.0, 30.0)
BLUR_PX = (0.4, 1.2)
CROP = (0.35, 0.7)  # side of a part, of the slice's: about 130 to 250 mm of 370 mm
_CROP_CENTRE = (0.25, 0.75)  # of the slice: where the body is
LEVEL_HU, WIDTH_LOG, GAMMA_LOG = (
    25.0,
    0.13,
    0.12,
)  # deviations of the window: errors of its measurement


def hounsfield(pixels: NDArray[np.generic]) -> NDArray[np.float32]:
    """A slice of any scale (rows, columns) in approximate HU, not clipped
    (models.images.normalise).
    """
    scale = measure_ct(pixels)
    low, high = WINDOW_HU
    # the line through both ends of the window, measured in the pixels and known in HU
    share = (pixels.astype(np.float32) - scale.low) / max(scale.high - scale.low, 1e-6)
    return np.asarray(share * (high - low) + low, dtype=np.float32)


def windowed(
    hu: NDArray[np.float32], level_shift_hu: float = 0.0, width_factor: float = 1.0
) -> NDArray[np.float32]:
    """HU in 0..1 through the usual window, or one a little off."""
    low, high = WINDOW_HU
    shown = (hu - low - level_shift_hu) / ((high - low) * width_factor)
    return np.asarray(np.clip(shown, 0, 1), dtype=np.float32)


def augmented(
    hu: NDArray[np.float32],
    labels: NDArray[np.uint8],
    rng: np.random.Generator,
    *,
    part: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Another picture in 0..1 and its labels, both (rows, columns), drawn with `rng`; of a `part`
    of the slice as `cropped` draws it.
    """
    if rng.random() < 0.5:
        hu = _enhanced(hu, labels, rng)
    hu, labels = _moved(hu, labels, rng)
    if part:
        hu, labels = cropped(hu, labels, rng)
    hu = _rougher(hu, rng)
    image = windowed(hu, rng.normal(0, LEVEL_HU), float(np.exp(rng.normal(0, WIDTH_LOG))))
    if rng.random() < 0.5:
        image = image ** np.float32(np.exp(rng.normal(0, GAMMA_LOG)))
    return image, labels


def cropped(
    hu: NDArray[np.float32], labels: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A square part of a slice in HU and of its labels, both (rows, columns), drawn with `rng`: a
    reconstruction with a small field of view, whose edges cut the body.
    """
    rows, columns = hu.shape
    side = round(rng.uniform(*CROP) * min(rows, columns))
    top, left = (
        int(np.clip(rng.uniform(*_CROP_CENTRE) * length - side / 2, 0, length - side))
        for length in (rows, columns)
    )
    window = (slice(top, top + side), slice(left, left + side))
    return hu[window], labels[window]


def _enhanced(
    hu: NDArray[np.float32], labels: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Every organ a little brighter or darker, its edge kept soft."""
    changed = hu.copy()
    for organ in np.unique(labels[labels > 0]):
        inside = ndimage.gaussian_filter((labels == organ).astype(np.float32), 1.0)
        changed += np.float32(rng.normal(0, ENHANCEMENT_HU)) * inside
    return changed


def _moved(
    hu: NDArray[np.float32], labels: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Turned, scaled, shifted and bent; what comes in from outside is air and background."""
    grid = _grid(hu.shape, rng)
    picture = torch.from_numpy(hu)[None, None] - AIR_HU
    classes = torch.from_numpy(labels.astype(np.float32))[None, None]
    # zeros come in from outside, which are air where the picture is given above air; labels are
    # taken from the nearest pixel, because a mean of two organs is a third one
    moved = functional.grid_sample(picture, grid, mode="bilinear", align_corners=False) + AIR_HU
    kept = functional.grid_sample(classes, grid, mode="nearest", align_corners=False)
    return moved[0, 0].numpy(), kept[0, 0].numpy().astype(np.uint8)


def _grid(shape: tuple[int, ...], rng: np.random.Generator) -> torch.Tensor:
    """Where each pixel is fetched from (1, rows, columns, 2), in halves of the field of view, (x,
    y).
    """
    turn = np.deg2rad(rng.uniform(-ROTATION_DEG, ROTATION_DEG))
    scale = np.exp(rng.uniform(*np.log(SCALE)))
    aspect = np.exp(rng.uniform(-ASPECT, ASPECT))
    across, down = rng.uniform(-SHIFT, SHIFT, 2)
    # The grid says where a pixel comes from, so its matrix R·inv(S), S = diag(scale·aspect,
    # scale / aspect), is the inverse of what happens to the picture: turned back by R, stretched by
    # S. The aspect keeps the area: its factors across and down multiply to one
    affine = [
        [np.cos(turn) / (scale * aspect), -np.sin(turn) * aspect / scale, across],
        [np.sin(turn) / (scale * aspect), np.cos(turn) * aspect / scale, down],
    ]
    # a displacement at 6 x 6 nodes, cubic between them: smooth, and without a fold, since the
    # deviation (0.6 % of the picture) is far below the distance of the nodes (20 %)
    nodes = rng.normal(0, BEND, (1, 2, _BEND_NODES, _BEND_NODES)).astype(np.float32)
    bend = functional.interpolate(
        torch.from_numpy(nodes), size=shape, mode="bicubic", align_corners=True
    )
    straight = functional.affine_grid(
        torch.tensor([affine], dtype=torch.float32), [1, 1, *shape], align_corners=False
    )
    return straight + bend.permute(0, 2, 3, 1)


def _rougher(hu: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Another reconstruction kernel and dose: sometimes blurred, sometimes with noise of some
    grain.
    """
    if rng.random() < 0.3:
        hu = ndimage.gaussian_filter(hu, rng.uniform(*BLUR_PX))
    if rng.random() < 0.5:
        grain = ndimage.gaussian_filter(rng.normal(0, 1, hu.shape), rng.uniform(0, 1))
        hu = hu + (grain * rng.uniform(*NOISE_HU)).astype(np.float32)
    return hu
