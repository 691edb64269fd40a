"""Where a run's figures go while it runs: tensorboard files in its own folder, nowhere else."""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from transformers.integrations import TensorBoardCallback

from models.training.run_folder import checkpoint_step


def tensorboard(out: Path, checkpoint: Path | None) -> TensorBoardCallback:
    """Writes the figures of each step to the run's folder `out`; what an earlier process wrote of
    steps after the `checkpoint` that the run goes on from is void.
    """
    last_step = None if checkpoint is None else checkpoint_step(checkpoint)
    next_step = None if last_step is None else last_step + 1
    return TensorBoardCallback(SummaryWriter(str(out / "tensorboard"), purge_step=next_step))
