"""Trajectories of toy cases by the fake segmenter, written as a run writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from agent.case import Case
from agent.fakes import FakeSegmenter, ThresholdPolicy
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.ports import Segmenter
from agent.protocol.dialects import Dialect
from agent.training.reader_settings import ReaderSettings
from agent.training.trajectory import TrajectoryMaker
from agent.values import PromptKind
from models.loaded_models import LoadedModels
from models.training.exports.trajectory_folder import begin_folder
from models.training.exports.trajectory_shard import CaseDone, TrajectoryShard
from models.training.trajectory_run import TrajectoryRun
from tests.support.toy_cases import toy_cases

SOURCE = {"dataset": "toy", "licence": "CC0", "source": "drawn by the test", "layout": "toy"}


class BoxesOnly(FakeSegmenter):
    """The fake, which understands boxes only."""

    supported_prompts = frozenset({PromptKind.BOX})


def toy_run(
    *,
    segmenter: Segmenter | None = None,
    dialect: Dialect = Dialect.TOOL_CALL,
    seed: int = 0,
    per_case: int = 1,
    image_px: int = 64,
) -> TrajectoryRun:
    """A run that shows pictures of `image_px` a side."""
    drawing = segmenter or BoxesOnly()
    language = LanguageSettings(dialect=dialect, image_px=image_px)
    maker = TrajectoryMaker(drawing, language, ReaderSettings(), Limits(), seed)
    return TrajectoryRun(LoadedModels(ThresholdPolicy(), drawing), maker, per_case)


def write_toy_folder(
    folder: Path,
    run: TrajectoryRun | None = None,
    cases: Iterable[Case] | None = None,
    *,
    index: int = 0,
    count: int = 1,
    resume: bool = False,
) -> list[CaseDone]:
    """Write a shard as `segnode trajectories` does; what came of each case of this run."""
    run = run or toy_run()
    settings = {
        "segmenter": run.maker.segmenter.name,
        "dialect": str(run.maker.language.dialect),
        "seed": run.maker.seed,
    }
    begin_folder(folder, settings, SOURCE)
    done: list[CaseDone] = []
    shard = TrajectoryShard(folder, index, count, resume=resume)
    try:
        run.work(toy_cases(6) if cases is None else cases, shard, done.append)
    finally:
        shard.close()
    return done
