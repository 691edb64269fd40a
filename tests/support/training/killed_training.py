"""A training process that is killed in the middle, by itself and for good, so that the moment is
always the same:

    python -m tests.support.training.killed_training DATA BASE OUT STEP SETTINGS
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from models.training.sft import SftSettings, train_sft


def main(data: str, base: str, out: str, step: str, settings: str) -> None:
    """Train, and die by SIGKILL when that step has been made and told."""

    def progress(text: str) -> None:
        if text.startswith(f"step {step} "):
            os.kill(os.getpid(), signal.SIGKILL)

    train_sft(
        Path(data), Path(base), Path(out), SftSettings(**json.loads(settings)), progress=progress
    )


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    main(*sys.argv[1:])
