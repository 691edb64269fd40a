"""`segnode train sft`: what trains, and trajectories of what readers corrected, loaded where that
command runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.protocol.dialects import Dialect
from models.errors import TrainingRefused
from models.training.run_folder import RunFolder
from models.training.sft import SftResult, SftSettings, train_sft
from models.training.trajectory_choices import TrajectoryChoices
from server.compose.training import trajectories
from server.compose.training.serving_model import base_folder
from server.settings import Settings

__all__ = ["Corrections", "SftResult", "SftSettings", "base_folder", "made_of", "train_sft"]


@dataclass(frozen=True)
class Corrections:
    """What readers corrected: `data` and its `split`; `out` is the run that learns from it."""

    data: Path
    split: str
    out: Path
    resume: bool = False


def made_of(settings: Settings, of: Corrections, tell: Callable[[str], None]) -> Path:
    """The folder, in the run's, of the trajectories from our masks to the readers'; what was made
    by an earlier start of the run is not made again.

    TrainingRefused where nothing was corrected, and for a run of several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainingRefused(
            "several processes cannot make one folder of trajectories: make it first by "
            f"`segnode trajectories {of.data} --out DIR`, then `segnode train sft DIR`"
        )
    if not of.resume:
        RunFolder(of.out).require_unused()
    folder = of.out / "trajectories"
    choices = TrajectoryChoices(
        of.data,
        folder,
        split=of.split,
        resume=True,
        dialect=Dialect(settings.language.dialect),
        corrections_only=True,
    )
    made = trajectories.run(settings, choices, tell)
    if not made.figures.kept:
        raise TrainingRefused(_nothing_to_learn(of, made))
    return folder


def _nothing_to_learn(of: Corrections, made: trajectories.TrajectoriesMade) -> str:
    reasons = [*made.figures.dropped, *made.figures.failed.values()]
    reasons += [f"{skipped.file}: {skipped.reason.rstrip('.')}" for skipped in made.skipped]
    if not reasons:
        return (
            f"{of.data} holds no correction in the split {of.split}: a reader's SEG beside ours, "
            "or files that a corrections.json names"
        )
    return f"no correction in {of.data} can be learnt from: {reasons[0]}"
