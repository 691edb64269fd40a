"""The server's seams: the workflow's view of the pipeline, the pipeline's view of the models.

The fakes are in server/fakes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.ports import Policy, Segmenter, Slices
from agent.turns import Turn
from agent.values import Mask, Volume
from dicom_node.values import WrittenResult
from server.values import Assignment, Selection, TargetSummary


class Stages(Protocol):
    """The stages of one study; server.study.stage_order has their order.

    Each is idempotent: run again after a crash it gives the same, and what an earlier one left in
    the work folder is used, not made again. Every turn is handed over as it happens.
    """

    def select(self, assignment: Assignment) -> Selection:
        """Choose the series and make it a volume on disk; NotAVolume where there is none."""

    def answer_digest(self, assignment: Assignment) -> str:
        """SHA-256 of all that decides what is answered beside the images of the selected series:
        targets as they are coded, models, weights, prompts, settings, version of the code.
        """

    def reuse(
        self, assignment: Assignment, earlier_id: str, results: Sequence[WrittenResult]
    ) -> tuple[WrittenResult, ...] | None:
        """Give what request `earlier_id` left in its work folder, `results` among it, to this one
        too; its results are then those answered. None where not all of it is there any more.
        """

    def outline(self, assignment: Assignment, index: int, on_turn: Callable[[Turn], None]) -> None:
        """Look for one target and draw it on its key slices."""

    def follow(self, assignment: Assignment, on_turn: Callable[[int, Turn], None]) -> None:
        """Follow all outlined targets through the volume in one pass, where the segmenter can.

        Turns are handed over with their target's index.
        """

    def finish(
        self, assignment: Assignment, index: int, on_turn: Callable[[Turn], None]
    ) -> TargetSummary:
        """Finish one target that was outlined; its mask is left in the work folder.

        An unknown target is a summary with status failed, not an error.
        """

    def write(
        self, assignment: Assignment, targets: Sequence[TargetSummary]
    ) -> tuple[WrittenResult, ...]:
        """Write the results, each read back and compared; NothingToReport if all targets failed."""

    def discard(self, assignment: Assignment) -> None:
        """Remove intermediate files of a request that has ended (results and trace stay)."""

    def encoder_passes(self, assignment: Assignment) -> int:
        """How often the image encoder ran for a request's volume since this process prepared it."""


class Prepared(Protocol):
    """A volume made ready for the agent, and the way back to the grid it came from."""

    def slices_for(self, structure: str) -> Slices:
        """The working grid's slices in the window of a structure (key or text), encoded once."""

    @property
    def encoder_passes(self) -> int:
        """How often the image encoder ran for this volume in this process."""

    def to_source(self, voxels: NDArray[np.bool_]) -> Mask:
        """A mask (z, y, x) of the working grid on the volume's own grid, shape and affine exact."""


class LoadedModels(Protocol):
    """The models of one worker: loaded once, used for every study."""

    @property
    def policy(self) -> Policy:
        """Who plans."""

    @property
    def segmenter(self) -> Segmenter:
        """Who draws."""

    @property
    def weights_sha256(self) -> tuple[str, ...]:
        """Hashes of the weights in use, for the record and the results."""

    def prepare(
        self, volume: Volume, folder: Path, on_encoded: Callable[[int, int], None]
    ) -> Prepared:
        """Bring a volume to the working grid; encodings are kept under `folder`.

        `on_encoded` takes, after each run of the encoder, how many slices are encoded of how many.
        """
