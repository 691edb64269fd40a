"""How far a slice is from those that were learnt, by the segmenter's embedding of its body.

The mean of an embedding over the cells that show body, 256 numbers, says what kind of picture it
is, whatever the share of air in it. Its Mahalanobis distance to those of the training slices is
what is judged; models.policies.locator.views_of_training makes the slices' file and measures the
distances of patients left out, models/policies/locator/weights/MODEL_CARD.md has the figures.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models.policies.locator.knowledge import BODY_LEVEL

FARTHEST = 1.5
"""The distance beyond which a slice is unlike anything learnt: an eighth above the largest (1.32)
of a training patient's slice, as it is or with another rim, from those of the other patients.
"""

UNLIKE = (
    "the view is unlike anything that the planner learnt, which is axial CT of the abdomen over "
    "the body's whole width: neither what it would draw nor an absence can be believed"
)

_SHRINKAGE = 0.3  # of the correlations: 256 numbers are more than the slices
_LEAST_CELLS = 20  # of the 64 x 64: a picture with less body in it is judged as a whole
_POOLED = "pooled"  # the array's name in the file


class LearntViews:
    """The slices that were learnt, each as `pooled_of` it: (slices, 256) float32."""

    def __init__(self, pooled: NDArray[np.float32]) -> None:
        self.pooled = pooled
        self._mean = pooled.mean(axis=0)
        self._deviation = pooled.std(axis=0) + np.float32(1e-6)
        scaled = (pooled - self._mean) / self._deviation
        # correlations of fewer slices than channels cannot be inverted; shrunk towards the
        # identity, (1 - a)·C + a·I, they can, and chance correlations count for less
        correlation = scaled.T @ scaled / len(scaled)
        shrunk = (1 - _SHRINKAGE) * correlation + _SHRINKAGE * np.eye(pooled.shape[1])
        self._inverse = np.linalg.inv(shrunk)

    @classmethod
    def load(cls, path: Path) -> LearntViews:
        """From a file of `save`; OSError where it cannot be read, KeyError where it is another."""
        return cls(load_file(path)[_POOLED].astype(np.float32))

    def save(self, path: Path) -> None:
        """As float16."""
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({_POOLED: self.pooled.astype(np.float16)}, path)
        path.chmod(0o644)  # it travels in the package; safetensors writes for its owner alone

    def distance(self, pooled: NDArray[np.float32]) -> float:
        """The distance of a slice, as `pooled_of` it (256,); below 1 for most that are alike."""
        offset = (pooled - self._mean) / self._deviation
        # Σ over the channels, divided by their number: its unit is the spread of the slices
        return float(np.sqrt(offset @ self._inverse @ offset / len(offset)))


def pooled_of(embedding: NDArray[np.floating], square: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean (channels,) of an embedding (channels, h, w) over the cells that show body in the
    slice as the encoder saw it, `square` (rows, columns) in 0..1, whole multiples of h and w.
    """
    channels, rows, columns = embedding.shape
    down, across = square.shape[0] // rows, square.shape[1] // columns
    cells = square.reshape(rows, down, columns, across).mean(axis=(1, 3))
    body = cells > BODY_LEVEL
    if np.count_nonzero(body) < _LEAST_CELLS:
        body = np.ones_like(body)
    inside = embedding.reshape(channels, -1)[:, body.ravel()]
    return np.asarray(inside.mean(axis=1, dtype=np.float32))


def unlike_learnt(distances: Iterable[float]) -> str:
    """UNLIKE where there are slices, and all of them are too far from those that were learnt."""
    return UNLIKE if min(distances, default=0.0) > FARTHEST else ""
