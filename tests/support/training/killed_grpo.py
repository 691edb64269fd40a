"""A GRPO run that is killed in the middle, by itself and for good, so that the moment is always the
same:

    python -m tests.support.training.killed_grpo BASE OUT SQUARES STEP SETTINGS

SETTINGS is JSON of GrpoSettings' record.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.fakes import FakeSegmenter, ScriptedPolicy
from agent.ports import Localisation
from models.loaded_models import LoadedModels
from models.training.grpo import GrpoResult, train_grpo
from models.training.grpo_settings import GrpoSettings, settings_of
from tests.support.planners.toy_planner import toy_squares


def train_on_squares(
    base: Path, out: Path, squares: int, settings: GrpoSettings, **more: Any
) -> GrpoResult:
    """Train on so many squares, drawn by the fake segmenter, on a CPU."""
    models = LoadedModels(ScriptedPolicy(Localisation((), (0,)), {}), FakeSegmenter())
    return train_grpo(toy_squares(squares), base, models, out, settings, device="cpu", **more)


def killer(step: int) -> Callable[[str], None]:
    """Progress that ends the process by SIGKILL when that step has been made and told."""

    def progress(text: str) -> None:
        if text.startswith(f"step {step} "):
            os.kill(os.getpid(), signal.SIGKILL)

    return progress


def main(base: str, out: str, squares: str, step: str, settings: str) -> None:
    """Train, and die."""
    values = json.loads(settings)
    train_on_squares(
        Path(base),
        Path(out),
        int(squares),
        settings_of(None, values | {"prompts_folder": Path(values["prompts_folder"])}),
        progress=killer(int(step)),
    )


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    main(*sys.argv[1:])
