"""Trajectories of many cases: each prepared as serving prepares it, its slices encoded once for all
its structures and trajectories, written as they come.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.case import Case, Truth
from agent.errors import AgentError
from agent.training.case_trajectories import trajectories_of
from agent.training.trajectory import Dropped, Trajectory, TrajectoryMaker
from agent.values import Volume
from models.errors import ExportFailed, ModelsError
from models.images.preprocessing import WorkingGrid
from models.loaded_models import LoadedModels
from models.training.exports.trajectory_shard import CaseDone, TrajectoryShard

logger = logging.getLogger(__name__)

OnCase = Callable[[CaseDone], None]
"""Takes each case that is done, those of an earlier run not."""


@dataclass(frozen=True)
class TrajectoryRun:
    """Makes the trajectories of cases with `models` and `maker`, `per_case` for each structure, and
    keeps encodings in `encodings` for the next run (None: in memory, while a case is worked on).
    """

    models: LoadedModels
    maker: TrajectoryMaker
    per_case: int = 1
    encodings: Path | None = None

    def work(self, cases: Iterable[Case], shard: TrajectoryShard, on_case: OnCase) -> None:
        """Write the trajectories of those `cases` that are in this shard and not done.

        A case on which the segmenter or its preparation fails is named, counted, and left out;
        ExportFailed ends the run. At the end the lines stand in the order of `cases`, whatever was
        done before.
        """
        names: list[str] = []
        for case in cases:
            name = case_name(case)
            names.append(name)
            if name in shard.done or not shard.has(name):
                continue
            try:
                row = shard.add(name, self._made(case), self.maker)
            except ExportFailed:
                raise
            except (AgentError, ModelsError, ValueError, RuntimeError, MemoryError) as fault:
                reason = " ".join(str(fault).split()) or type(fault).__name__
                logger.warning("no trajectories of %s: %s", name, reason)
                row = shard.fail(name, reason)
            on_case(row)
        shard.arrange(names)

    def encodings_of(self, case: Case) -> Path | None:
        """The folder that keeps a case's encodings; None where they are not kept."""
        if self.encodings is None:
            return None
        return self.encodings / hashlib.sha256(case_name(case).encode()).hexdigest()[:16]

    def _made(self, case: Case) -> Iterator[Trajectory | Dropped]:
        prepared = self.models.prepare(case.volume, self.encodings_of(case))
        truths = [on_working_grid(truth, case, prepared.grid) for truth in case.truths]
        return trajectories_of(
            case,
            truths,
            lambda target: prepared.slices_for(target.structure or target.text),
            self.maker,
            self.per_case,
        )


def case_name(case: Case) -> str:
    """What a case is called among all data sets."""
    return f"{case.dataset}:{case.case_id}"


def on_working_grid(truth: Truth, case: Case, grid: WorkingGrid) -> Truth:
    """A truth of `case`, and the mask that was corrected to it, on the grid that models see; inside
    where interpolation says a half.
    """
    if grid.is_identity:
        return truth

    def on_grid(voxels: NDArray[np.bool_]) -> NDArray[np.bool_]:
        geometry = case.volume.geometry
        volume = Volume(voxels.astype(np.float32), geometry, case.volume.modality)
        return grid.to_working(volume).intensities > 0.5

    before = truth.corrected_from
    return Truth(truth.target, on_grid(truth.voxels), None if before is None else on_grid(before))
