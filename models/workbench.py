"""The models of one worker, loaded once: brings volumes to the agent's grid and masks back to their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.ports import Policy, Segmenter
from agent.values import Mask, Volume
from models.normalise import measure
from models.preprocessing import WorkingGrid
from models.registry import Resources, policy_entry, segmenter_entry, weights_of
from models.slices import EncodedSlices


@dataclass(frozen=True, eq=False)
class PreparedVolume:
    """A volume ready for the agent. `slices` on the working grid; `grid` the way to it and back."""

    slices: EncodedSlices
    grid: WorkingGrid

    @property
    def encoder_passes(self) -> int:
        """How often the image encoder ran for this volume in this process."""
        return self.slices.encoder_passes

    def to_source(self, voxels: NDArray[np.bool_]) -> Mask:
        """A mask (z, y, x) of the working grid on the volume's own grid, shape and affine exact."""
        return self.grid.to_source(voxels)


@dataclass(frozen=True, eq=False)
class Workbench:
    """A policy and a segmenter. `weights_sha256` of both, the policy's first; `encoder` names what made a kept
    encoding ("" where they cannot be kept); `slice_step_mm` closer slices are merged to at least this step.
    """

    policy: Policy
    segmenter: Segmenter
    weights_sha256: tuple[str, ...] = ()
    encoder: str = ""
    slice_step_mm: float = 0.0

    def prepare(self, volume: Volume, folder: Path | None) -> PreparedVolume:
        """Bring a volume to the working grid, on one scale for all its slices; encodings are kept in `folder`."""
        grid = WorkingGrid.of(volume.geometry, slice_step_mm=self.slice_step_mm)
        working = grid.to_working(volume)
        slices = EncodedSlices(
            working,
            self.segmenter,
            measure(working.intensities, working.modality).apply,
            encoder=self.encoder,
            folder=folder if self.encoder else None,
        )
        return PreparedVolume(slices, grid)


def open_workbench(
    policy: str,
    segmenter: str,
    *,
    resources: Resources | None = None,
    slice_step_mm: float = 0.0,
) -> Workbench:
    """Load a policy and a segmenter by name.

    UnknownModel for a name that is not there, WeightsMissing or WeightsChanged for weights that are not whole.
    """
    resources = resources or Resources()
    wanted = segmenter_entry(segmenter)
    weights = weights_of(policy=policy, segmenter=segmenter)
    hashes = tuple(part.sha256 for part in weights)
    return Workbench(
        policy=policy_entry(policy).build(resources),
        segmenter=wanted.build(resources),
        weights_sha256=hashes,
        encoder="+".join((segmenter, *hashes)) if wanted.keeps else "",
        slice_step_mm=slice_step_mm,
    )
