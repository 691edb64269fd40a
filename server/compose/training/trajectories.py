"""`segnode trajectories`: cases in, a folder of trajectories out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from agent.language.settings import LanguageSettings
from agent.training.reader_settings import ReaderSettings
from agent.training.trajectory import TrajectoryMaker
from models.loaded_models import LoadedModels, open_workbench
from models.registry import segmenter_entry
from models.training.datasets.corrected import corrections_of
from models.training.datasets.dataset import Dataset, Skipped
from models.training.exports.data_card import write_data_card
from models.training.exports.llama_factory import write_llama_factory
from models.training.exports.rl_parquet import write_rl_parquet
from models.training.exports.trajectory_folder import FolderFigures, begin_folder, end_folder
from models.training.exports.trajectory_shard import CaseDone, TrajectoryShard
from models.training.trajectory_choices import TrajectoryChoices
from models.training.trajectory_run import TrajectoryRun
from server.compose.choice import choice, limits, resources
from server.compose.training.cases import open_cases
from server.errors import ConfigurationError
from server.settings import Settings

_WITHOUT_WEIGHTS = "threshold"  # a policy that loads nothing: the reader plans here, not a policy
_WRITERS: Mapping[str, Callable[[Path], object]] = {
    "llama-factory": write_llama_factory,
    "rl-parquet": write_rl_parquet,
}


@dataclass(frozen=True)
class TrajectoriesMade:
    """The `figures` of the whole folder, all its shards, and what of the data was `skipped`."""

    figures: FolderFigures
    skipped: tuple[Skipped, ...]


def run(
    settings: Settings, choices: TrajectoryChoices, tell: Callable[[str], None]
) -> TrajectoriesMade:
    """Make the trajectories that are chosen; `tell` is given the progress in words.

    ConfigurationError for settings that trajectories cannot be made with; errors of the data set
    and of the models pass through.
    """
    models = _models(settings)
    maker = _maker(settings, choices, models)
    dataset = open_cases(choices.data, choices.split)
    begin_folder(choices.out, _made_with(choices, maker, models), _source(dataset))
    shard = TrajectoryShard(choices.out, choices.shard, choices.shards, resume=choices.resume)
    try:
        work = TrajectoryRun(models, maker, choices.per_case, choices.encodings)
        progress = _Progress(len(dataset), shard, tell)
        cases = dataset.cases()
        work.work(
            corrections_of(cases) if choices.corrections_only else cases, shard, progress.case
        )
    finally:
        shard.close()
    figures = end_folder(choices.out)
    if figures.kept:  # else what was left out says more than that there is nothing to export
        _write_beside(choices)
    return TrajectoriesMade(figures, tuple(dataset.skipped))


def _write_beside(choices: TrajectoryChoices) -> None:
    for name in choices.exports:
        _WRITERS[name](choices.out)
    if choices.publish:
        write_data_card(choices.out)


def _models(settings: Settings) -> LoadedModels:
    """The segmenter as a language model's slices are prepared for it: each structure in its own
    window.
    """
    segmenter = choice(settings).segmenter
    if segmenter_entry(segmenter).draws_volumes:
        raise ConfigurationError(
            f"trajectories are made slice by slice, and {segmenter} draws whole volumes: name "
            "another with --segmenter"
        )
    opened = open_workbench(_WITHOUT_WEIGHTS, segmenter, resources=resources(settings, segmenter))
    return replace(opened, window=None)


def _maker(settings: Settings, choices: TrajectoryChoices, models: LoadedModels) -> TrajectoryMaker:
    names = {setting.name for setting in fields(LanguageSettings)}
    shared = names - {"coordinates"}  # replies to learn are written in the protocol's own
    language = LanguageSettings(**{name: getattr(settings.language, name) for name in shared})
    try:
        return TrajectoryMaker(
            models.segmenter,
            replace(language, dialect=choices.dialect, native_tools=False),
            ReaderSettings(least_final_iou=choices.least_final_iou),
            limits(settings),
            choices.seed,
        )
    except ValueError as fault:
        raise ConfigurationError(str(fault)) from fault


def _made_with(
    choices: TrajectoryChoices, maker: TrajectoryMaker, models: LoadedModels
) -> dict[str, Any]:
    """All that the trajectories depend on beside the cases."""
    return {
        "segmenter": maker.segmenter.name,
        "weights_sha256": list(models.weights_sha256),
        "dialect": str(choices.dialect),
        "seed": choices.seed,
        "per_case": choices.per_case,
        "shards": choices.shards,
        "split": choices.split,
        "pictures": asdict(maker.language.pictures),
        "limits": asdict(maker.limits),
        "reader": asdict(maker.reader),
        "corrections_only": choices.corrections_only,
    }


def _source(dataset: Dataset) -> dict[str, str]:
    manifest = dataset.manifest
    return {
        "dataset": dataset.name,
        "layout": dataset.layout,
        "licence": manifest.licence,
        "source": manifest.source,
    }


class _Progress:
    """Counts a shard's cases as they are done."""

    def __init__(self, cases: int, shard: TrajectoryShard, tell: Callable[[str], None]) -> None:
        self._cases, self._shard, self._tell = cases, shard, tell
        self._began, self._made = time.monotonic(), 0

    def case(self, row: CaseDone) -> None:
        """One more is done."""
        self._made += row.kept
        rows = self._shard.done.values()
        kept, dropped = sum(r.kept for r in rows), sum(sum(r.dropped.values()) for r in rows)
        failed = sum(bool(r.failed) for r in rows)
        a_second = self._made / max(time.monotonic() - self._began, 1e-6)
        self._tell(
            f"{len(rows)} cases of {self._cases} in all shards, {kept} kept, {dropped} dropped, "
            f"{failed} failed, {a_second:.1f} a second"
        )
