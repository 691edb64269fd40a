"""The models of one worker, loaded once: brings volumes to the agent's grid and masks back to their
own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.ports import Policy, Segmenter
from agent.values import Mask, Volume
from agent.volume.box_propagation import with_propagation
from models.images.normalise import Scale
from models.images.preprocessing import WorkingGrid
from models.images.presentation import Presentation
from models.images.readers import UNTOLD
from models.images.slices import EncodedSlices, OnEncoded, ignore_progress
from models.images.windows import ABDOMEN, Window, window_for
from models.registry import (
    open_policy,
    policy_entry,
    segmenter_entry,
    weights_of,
)
from models.runtime.resources import Precision, Resources
from models.serving.opening import open_served


@dataclass(frozen=True, eq=False)
class LoadedModels:
    """A policy and a segmenter. `weights_sha256` of both, the policy's first; `encoder` names what
    made a kept encoding ("" where they cannot be kept); `window` is the one the policy needs for
    everything (None: each structure its own); `slice_step_mm` closer slices are merged to at least
    this step.
    """

    policy: Policy
    segmenter: Segmenter
    weights_sha256: tuple[str, ...] = ()
    encoder: str = ""
    window: Window | None = None
    slice_step_mm: float = 0.0

    def prepare(
        self, volume: Volume, folder: Path | None, on_encoded: OnEncoded = ignore_progress
    ) -> PreparedVolume:
        """Bring a volume to the working grid, on one scale for all its slices.

        Encodings are kept in `folder`; `on_encoded` is called after each run of the encoder.
        """
        grid = WorkingGrid.of(volume.geometry, slice_step_mm=self.slice_step_mm)
        kept_in = folder if self.encoder else None
        return PreparedVolume(grid, grid.to_working(volume), self, kept_in, on_encoded)


@dataclass(frozen=True, eq=False)
class PreparedVolume:
    """A volume ready for the agent. `grid` the way to the working grid and back, `working` the
    volume on it.
    """

    grid: WorkingGrid
    working: Volume
    bench: LoadedModels
    folder: Path | None
    on_encoded: OnEncoded = ignore_progress
    _by_window: dict[str, EncodedSlices] = field(default_factory=dict)

    def slices_for(self, structure: str) -> EncodedSlices:
        """The slices as a structure (key or text) is best seen; structures of one window share
        them.
        """
        window = self.bench.window or window_for(structure)
        scale, words = self._shown(window)
        if words not in self._by_window:
            self._by_window[words] = EncodedSlices(
                self.working,
                self.bench.segmenter,
                scale.apply,
                window=words,
                levels=(scale.low, scale.high),
                encoder=self.bench.encoder,
                folder=self.folder,
                on_encoded=self.on_encoded,
            )
        return self._by_window[words]

    @property
    def slices(self) -> EncodedSlices:
        """The slices as the abdomen is best seen."""
        return self.slices_for("")

    @property
    def encoder_passes(self) -> int:
        """How often the image encoder ran for this volume in this process."""
        return sum(slices.encoder_passes for slices in self._by_window.values())

    def to_source(self, voxels: NDArray[np.bool_]) -> Mask:
        """A mask (z, y, x) of the working grid on the volume's own grid, shape and affine exact."""
        return self.grid.to_source(voxels)

    def _shown(self, window: Window) -> tuple[Scale, str]:
        """The scale for a window and what to say of it.

        A grey picture that does not tell its modality is CT to a policy that knows CT alone, and
        nothing else to any other; a window that was asked for is then in its own grey levels.
        """
        ends = self.working.window
        if ends is None:
            return self._presentation.shown(window)
        asked = Window("asked for", *ends, source="the user")
        if self.working.modality == UNTOLD:
            return Presentation(self.working.intensities, UNTOLD).shown(window, asked)
        return self._presentation.shown(window, asked)

    @cached_property
    def _presentation(self) -> Presentation:
        modality = "CT" if self._is_ct else self.working.modality
        in_colour = self.working.colour is not None
        return Presentation(self.working.intensities, modality, in_colour)

    @property
    def _is_ct(self) -> bool:
        modality = self.working.modality
        return modality == "CT" or (modality == UNTOLD and self.bench.window is not None)


def open_workbench(
    policy: str,
    segmenter: str,
    *,
    resources: Resources | None = None,
    slice_step_mm: float = 0.0,
    opening: Callable[[str, Resources], Segmenter] = open_served,
) -> LoadedModels:
    """Load a policy and a segmenter by name; `opening` loads the segmenter.

    UnknownModel for a name that is not there, WeightsMissing or WeightsChanged for weights that are
    not whole.
    """
    resources = resources or Resources()
    planner, entry = policy_entry(policy), segmenter_entry(segmenter)
    parts = weights_of(policy=policy, segmenter=segmenter, resources=resources)
    hashes = [part.verify(resources.weights_dir) for part in parts]
    drawing = opening(segmenter, resources)
    steps = planner.sparing and not entry.draws_volumes
    if steps and not resources.language.every_slice:
        drawing = with_propagation(drawing)
    return LoadedModels(
        policy=open_policy(policy, resources, segmenter=segmenter),
        segmenter=drawing,
        weights_sha256=tuple(hashes),
        encoder=_encoder_name(segmenter, hashes[-1], resources) if entry.keeps else "",
        window=ABDOMEN if planner.abdomen_only else None,
        slice_step_mm=slice_step_mm,
    )


def _encoder_name(segmenter: str, sha256: str, resources: Resources) -> str:
    """What made a kept encoding: rounded weights make other ones."""
    rounded = (resources.precision.value,) if resources.precision is Precision.INT8 else ()
    return "+".join((segmenter, sha256, *rounded))
