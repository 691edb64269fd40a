"""What the locator knows: its organs, and the lungs by a rule.

Lungs are not among BTCV's labels, but on CT they need no network: they are the large air-filled
parts inside the body, and the body's midline says which is which.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.policies.locator.structures import RIGHT_LUNG

BODY_LEVEL = 0.05  # of the window: fat is at 0.15, air at 0
_AIR_LEVEL = 0.02  # lungs lie far below the window's -160 HU
_OPENING_PX = 3
_LEAST_SHARE = 0.01  # of the body: less is gas in the bowel or the last tip of a lung
_VESSELS_PX = 3  # closing that takes the vessels into the lung


def body_of(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The patient (rows, columns) bool on a windowed slice in 0..1, holes filled; all False without
    one.
    """
    solid = ndimage.binary_opening(image > BODY_LEVEL, iterations=_OPENING_PX)
    labels, count = ndimage.label(solid)
    if count == 0:
        return np.zeros(image.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_fill_holes(labels == sizes.argmax()))


def lung_map(image: NDArray[np.float32], lung: str) -> NDArray[np.float32]:
    """How likely each pixel of a windowed slice in 0..1 belongs to `lung`, (rows, columns) float32:
    0 or 1.

    Air inside the body in parts of at least 1 % of it, on the lung's side of the body's midline
    (column 0 is the patient's right). Gas in the stomach or bowel is told apart by its even
    blackness: a lung has vessels in it.
    """
    body = body_of(image)
    if not body.any():
        return np.zeros(image.shape, dtype=np.float32)
    columns = np.flatnonzero(body.any(axis=0))
    midline = (columns[0] + columns[-1]) / 2
    air = ndimage.binary_opening((image < _AIR_LEVEL) & body, iterations=2)
    labels, count = ndimage.label(air)
    found = np.zeros(image.shape, dtype=bool)
    for part in range(1, count + 1):
        inside = labels == part
        if np.count_nonzero(inside) >= _LEAST_SHARE * np.count_nonzero(body) and _has_vessels(
            inside, image
        ):
            found |= _closed(inside) & body
    side = np.arange(image.shape[1]) < midline
    own_side = side if lung == RIGHT_LUNG else ~side
    return np.asarray(found & own_side, dtype=np.float32)


def _closed(part: NDArray[np.bool_]) -> NDArray[np.bool_]:
    closed = ndimage.binary_closing(np.pad(part, _VESSELS_PX), iterations=_VESSELS_PX)
    inner = closed[_VESSELS_PX:-_VESSELS_PX, _VESSELS_PX:-_VESSELS_PX]
    return np.asarray(ndimage.binary_fill_holes(inner))


def _has_vessels(part: NDArray[np.bool_], image: NDArray[np.float32]) -> bool:
    """Whether bright specks are enclosed by the part: vessels and bronchi, which gas has none
    of.
    """
    enclosed = ndimage.binary_fill_holes(part) & ~part
    return bool(np.count_nonzero(enclosed & (image > BODY_LEVEL)) > 0.002 * part.sum())
