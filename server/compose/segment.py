"""`segnode segment`: files in, files out, without a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from agent.turns import Turn
from server.compose.choice import choice, configured_models, limits, second_segmenter
from server.local import LocalModels, LocalRun, asked_targets, segment_files
from server.rules.catalogue import load_catalogue
from server.settings import Settings
from server.values import TargetSummary

__all__ = ["choice", "open_models", "run"]


def open_models(settings: Settings) -> LocalModels:
    """The configured models, loaded at the first run and kept for those that follow."""
    named = settings.model_dump_json(include={"agent", "models", "language"})
    identity = f"{choice(settings)} {named}"  # "auto" may mean others once more weights are here
    return LocalModels(
        configured_models(settings),
        load_catalogue(),
        limits(settings),
        identity,
        second_segmenter(settings),
    )


def run(
    models: LocalModels,
    path: Path,
    targets: Sequence[str],
    out: Path,
    progress: Callable[[str], None],
    *,
    modality: str = "",
    window: str = "",
) -> Sequence[TargetSummary]:
    """Segment a local file or folder into `out`; InputError, NotAVolume. `progress` is given the
    current place in words, `modality` overrules what a file that is no DICOM lets guess, and
    `window` what it is shown through.
    """
    local_run = LocalRun(path, asked_targets(targets, models.catalogue), out, modality, window)

    def show_turn(index: int, turn: Turn) -> None:
        progress(f"{local_run.targets[index].text}, {turn.place}, {turn.role}")

    return segment_files(local_run, models, show_turn, progress)
