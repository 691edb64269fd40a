"""A worker's models, loaded once, and a volume made ready for them (server.ports.Workbench, Prepared)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.ports import Policy, Segmenter
from agent.values import Mask, Volume
from models.normalise import normalise
from models.preprocessing import WorkingGrid
from models.slices import EncodedSlices


@dataclass(frozen=True, eq=False)
class PreparedVolume:
    """A volume's slices on the working grid, and the way back to the grid it came from."""

    slices: EncodedSlices
    grid: WorkingGrid

    @property
    def encoder_passes(self) -> int:
        """How often the image encoder has run for this volume."""
        return self.slices.encoder_passes

    def to_source(self, voxels: NDArray[np.bool_]) -> Mask:
        """A mask (z, y, x) bool of the working grid, on the volume's own grid."""
        return self.grid.to_source(voxels)


@dataclass(frozen=True, eq=False)
class ModelWorkbench:
    """Planner and segmenter of a worker; `weights_sha256` of both, for the record and the results."""

    policy: Policy
    segmenter: Segmenter
    weights_sha256: tuple[str, ...]

    def prepare(self, volume: Volume, folder: Path) -> PreparedVolume:
        """Bring a volume to the working grid; encodings are kept in `folder`, made if missing."""
        grid = WorkingGrid.of(volume.geometry)
        slices = EncodedSlices(
            grid.to_working(volume),
            self.segmenter,
            partial(normalise, modality=volume.modality),
            encoder=" ".join((self.segmenter.name, *self.weights_sha256)),
            folder=folder,
        )
        return PreparedVolume(slices, grid)
