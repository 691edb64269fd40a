"""What an image encoder made of a slice: the one form in which features are kept, cached and
prompted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Features:
    """An encoded slice (agent.ports.Encoding).

    `embedding` (channels, h, w) float32; `source_shape` (rows, columns) of the slice; `high_res`
    finer maps (channels, h, w) float32, the finest first, for models that have them.
    """

    embedding: NDArray[np.float32]
    source_shape: tuple[int, int]
    high_res: tuple[NDArray[np.float32], ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes that the maps take in memory."""
        return self.embedding.nbytes + sum(feature_map.nbytes for feature_map in self.high_res)
