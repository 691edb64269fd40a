"""The folder of a training run, which survives whatever ends the run.

run.json        what the run was begun with; --resume goes on only with the same
checkpoints/    checkpoint-N: weights, optimizer, random numbers; the last two
tensorboard/    figures by step
curves.png      the same as a picture
left-out.txt    trajectories that were not used, each with the reason
model/          at the end: the model as `policy = "transformers"` loads it, with training.json
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from models.errors import TrainingRefused, TrainingStopped

_PACKAGES = ("segnode", "torch", "transformers", "trl", "peft", "accelerate")
_LAST_WRITTEN = "trainer_state.json"  # of a checkpoint


@dataclass(frozen=True)
class RunFolder:
    """A run's folder `out`, begun with `begin` or gone on with by `resume`."""

    out: Path

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.out / "checkpoints"

    @property
    def model(self) -> Path:
        """Where the model lies when the run has ended."""
        return self.out / "model"

    def require_unused(self) -> None:
        """TrainingRefused if a run is in the folder."""
        if (self.out / "run.json").exists() or self.model.exists():
            raise TrainingRefused(
                f"{self.out} holds a run already: go on with it by --resume, or name another folder"
            )

    def begin(self, begun_with: Mapping[str, Any]) -> None:
        """Take the folder for a new run; TrainingRefused if another run is in it."""
        self.require_unused()
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write_whole(self.out / "run.json", json.dumps(begun_with, indent=2) + "\n")

    def resume(self, begun_with: Mapping[str, Any]) -> Path | None:
        """The last whole checkpoint of the run in the folder, None if it has none yet; what is left
        of one that was not finished is removed.

        TrainingRefused if there is no run, or one that was begun with something else.
        """
        try:
            before = json.loads((self.out / "run.json").read_text("utf-8"))
        except (OSError, ValueError):
            raise TrainingRefused(
                f"{self.out} holds no run to resume: leave --resume away"
            ) from None
        now = json.loads(json.dumps(begun_with))
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                raise TrainingRefused(
                    f"the run in {self.out} was begun with another {key}: "
                    f"{_difference(before.get(key), now.get(key))}; resume it with the same, or "
                    "name another folder"
                )
        whole: dict[int, Path] = {}
        for folder in self.checkpoints.glob("checkpoint-*"):
            step = checkpoint_step(folder)
            if step is None:
                shutil.rmtree(folder)
            else:
                whole[step] = folder
        return whole[max(whole)] if whole else None

    def finish(self, save: Callable[[Path], None], summary: Mapping[str, Any]) -> None:
        """Have `save` write the model, and put it and its training.json in their place in one
        rename; TrainingStopped when they could not be written, with nothing half there.
        """
        partial = self.out / "model.partial"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            save(partial)
            write_whole(partial / "training.json", json.dumps(summary, indent=2) + "\n")
            shutil.rmtree(self.model, ignore_errors=True)
            partial.replace(self.model)
        # what a full disk raises is safetensors' own, torch's, or OSError: is_write_failure tells
        except Exception as error:
            shutil.rmtree(partial, ignore_errors=True)
            if not is_write_failure(error):
                raise
            raise TrainingStopped(
                f"the model could not be written to {self.out} ({error}). Its checkpoints are "
                "kept: make room and go on with --resume."
            ) from error


def checkpoint_step(folder: Path) -> int | None:
    """The step of a checkpoint that is whole; None for one that was not finished."""
    try:
        state = json.loads((folder / _LAST_WRITTEN).read_text("utf-8"))
        step = int(state["global_step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return step if folder.name == f"checkpoint-{step}" else None


def is_write_failure(error: BaseException) -> bool:
    """Whether an error says that a file could not be written: a full disk, as the system, torch and
    safetensors say it.
    """
    if isinstance(error, OSError):
        return True
    message = str(error).lower()
    return any(words in message for words in ("no space left", "file write failed", "i/o error"))


def write_whole(file: Path, text: str) -> None:
    """Write a file that is there whole or not at all."""
    partial = file.with_name(f"{file.name}.partial")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)


def package_versions() -> dict[str, str]:
    """The versions of what a run's weights depend on."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _difference(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        parts = [
            f"{key} {before.get(key)!r}, now {now.get(key)!r}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key)
        ]
        return ", ".join(parts)
    return f"{before!r}, now {now!r}"
