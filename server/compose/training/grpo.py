"""`segnode train grpo`: cases and a segmenter for the trainer, loaded where that command runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from agent.case import Case
from models.errors import TrainingRefused
from models.loaded_models import LoadedModels, open_workbench
from models.pair import AUTO
from models.registry import open_policy
from models.runtime.resources import Resources
from models.serving.remote_segmenter import open_remote_segmenter
from models.training.datasets.corrected import corrections_of
from models.training.grpo import GrpoResult, train_grpo
from models.training.grpo_settings import PRESETS, GrpoSettings, settings_of
from server.compose.choice import choice, resources
from server.compose.training.cases import open_cases
from server.compose.training.serving_model import base_folder
from server.errors import ConfigurationError
from server.settings import Settings

__all__ = ["PRESETS", "GrpoResult", "GrpoRun", "GrpoSettings", "base_folder", "run", "settings_of"]

_WITHOUT_WEIGHTS = "threshold"  # a policy that loads nothing: the model in training plans


@dataclass(frozen=True)
class GrpoRun:
    """What a run is of: `data` and its `split`, the model `base` to begin with, the folder `out`;
    `slices_per_truth` of a volume are begun on. With `corrections_only` episodes begin on what
    readers corrected, and nowhere else. What draws is loaded here, or asked at `segmenter_url`, a
    `segnode sessions`, with the token in the file `segmenter_token`.
    """

    data: Path
    split: str
    base: Path
    out: Path
    slices_per_truth: int = 1
    resume: bool = False
    corrections_only: bool = False
    segmenter_url: str = ""
    segmenter_token: Path | None = None


def run(
    settings: Settings, training: GrpoSettings, of: GrpoRun, tell: Callable[[str], None]
) -> GrpoResult:
    """Train a planner by the rewards of its episodes; `tell` is given the progress in words.

    Errors of the data set, the models and the training pass through.
    """
    dataset = open_cases(of.data, of.split)
    cases = dataset.cases()
    if of.corrections_only:
        cases = _corrected(cases, of)
    result = train_grpo(
        cases,
        of.base,
        _models(settings, of),
        of.out,
        training,
        slices_per_truth=of.slices_per_truth,
        device=settings.models.device,
        resume=of.resume,
        progress=tell,
    )
    for skipped in dataset.skipped:
        tell(f"left out: {skipped.file}: {skipped.reason}")
    return result


def _corrected(cases: Iterable[Case], of: GrpoRun) -> Iterator[Case]:
    corrected = corrections_of(cases)
    first = next(corrected, None)
    if first is None:
        raise TrainingRefused(
            f"{of.data} holds no correction in the split {of.split}: a reader's SEG beside ours, "
            "or files that a corrections.json names"
        )
    return chain([first], corrected)


def _models(settings: Settings, of: GrpoRun) -> LoadedModels:
    """The segmenter as a language model's slices are prepared for it: each structure in its own
    window.
    """
    if of.segmenter_url:
        named = settings.agent.segmenter
        remote = open_remote_segmenter(
            of.segmenter_url,
            name=None if named == AUTO else named,
            token=_token(of.segmenter_token),
        )
        planner = open_policy(_WITHOUT_WEIGHTS, Resources(), segmenter=remote.name)
        return LoadedModels(planner, remote)
    segmenter = choice(settings).segmenter
    opened = open_workbench(_WITHOUT_WEIGHTS, segmenter, resources=resources(settings, segmenter))
    return replace(opened, window=None)


def _token(file: Path | None) -> str:
    """The first token of a file as `segnode sessions` reads it; ConfigurationError for none."""
    if file is None:
        return ""
    try:
        words = file.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--segmenter-token: {file} cannot be read ({error})") from error
    if not words:
        raise ConfigurationError(f"--segmenter-token: {file} holds no token")
    return words[0]
