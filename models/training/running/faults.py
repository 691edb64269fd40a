"""What the machine does to a training run, a full disk or no memory, as one sentence each."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import SegmenterAway, TrainingStopped
from models.runtime.memory import is_out_of_memory
from models.training.run_folder import is_write_failure

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
"""What the system says where a file cannot grow; another OSError may be of a file that is read."""


@contextmanager
def whole_checkpoint(folder: Path, step: int) -> Iterator[None]:
    """Write the checkpoint `folder` of a step within the block; TrainingStopped where it could not
    be written, with nothing of it left.
    """
    try:
        yield
    # what a full disk raises is safetensors' own, torch's, or OSError: is_write_failure tells
    except Exception as error:
        if not is_write_failure(error):
            raise
        shutil.rmtree(folder, ignore_errors=True)
        raise TrainingStopped(
            f"the checkpoint of step {step} could not be written ({error}). The one before it "
            "is kept: make room and go on with --resume."
        ) from error


@contextmanager
def ending_in_a_sentence(step: Callable[[], int], remedy: str) -> Iterator[None]:
    """Run the block; TrainingStopped where memory runs out, with the `remedy` (what to lower),
    where a file of the run (curves, figures) cannot be written, and where the segmenter's server is
    away. `step` tells the steps made.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingStopped(
            f"memory ran out in step {step() + 1}. {remedy}; then go on with --resume if a "
            "checkpoint was written."
        ) from error
    except SegmenterAway as error:
        raise TrainingStopped(
            f"{error} {step()} steps are made, the checkpoints are kept: go on with --resume when "
            "it answers."
        ) from error
    except OSError as error:
        if error.errno not in _FULL:
            raise
        place = f"{error.filename} " if error.filename else "a file of the run "
        raise TrainingStopped(
            f"{place}could not be written after step {step()} ({error.strerror}). The checkpoints "
            "are kept: make room and go on with --resume."
        ) from error
