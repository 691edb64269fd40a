"""`segnode evaluate`: cases, models and baselines put together, for one part of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.case import Case
from models.errors import EvaluationFailed
from models.evaluation.baselines import (
    ALL_OR_NONE,
    LOCATOR,
    methods_of,
    named_baselines,
    require_possible,
)
from models.evaluation.records import Shard, parts_missing, read_records
from models.evaluation.reporting.curves import require_matplotlib
from models.evaluation.results import write_results
from models.evaluation.run_folder import Run, begin, end_part, read_run
from models.evaluation.runner import evaluate
from models.loaded_models import LoadedModels
from models.pair import ModelPair
from models.training.datasets.dataset import Dataset
from server.compose.choice import choice, limits
from server.compose.networks import opener
from server.compose.training.cases import open_cases
from server.settings import Settings


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate, as the command says it: `split` None for all, `baselines` in words, `shard`
    the part of this process.
    """

    data: Path
    split: str | None
    out: Path
    baselines: str = "all"
    against: Path | None = None
    resume: bool = False
    shard: Shard = field(default_factory=Shard)


def run(
    settings: Settings,
    request: EvaluationRequest,
    tell: Callable[[str], None],
    progress: Callable[[str], None],
) -> dict[str, Any] | None:
    """Evaluate a part; what results.json holds, or None while other parts have not ended. `tell` is
    given a line for the person, `progress` where the work stands. ModelsError.
    """
    require_matplotlib()
    baselines = named_baselines(request.baselines)
    if request.against is not None:
        read_run(request.against)  # a wrong folder is told now, not after a day
    dataset = open_cases(request.data, request.split)
    pair = choice(settings)
    tell(f"models: {pair}")
    progress("loading the models")
    models, locator = _open(settings, pair, with_locator=LOCATOR in baselines)
    budgets = limits(settings)
    methods = methods_of(pair.policy, models, budgets, baselines, locator)
    if request.baselines not in ALL_OR_NONE:
        require_possible(baselines, pair.policy, models, methods.left_out)
    begin(
        request.out,
        Run(
            str(request.data),
            request.split or "",
            pair.policy,
            pair.segmenter,
            models.weights_sha256,
            baselines,
            budgets.max_turns,
        ),
        resume=request.resume or request.shard.count > 1,
    )
    for name, why in methods.left_out.items():
        tell(f"without {name}: {why}")
    failed = sum(record.failed for record in read_records(request.out))
    if failed:
        tell(f"answers that failed before and are tried again: {failed}")
    evaluated = evaluate(
        dataset.cases(),
        methods.run,
        models,
        request.out,
        shard=request.shard,
        on_progress=lambda text: progress(f"{text}; {len(dataset)} cases in all"),
    )
    _end(dataset, request, evaluated.cases)
    missing = parts_missing(request.out)
    if missing:
        tell(f"this part has ended; the report comes with the last one: {', '.join(missing)}")
        return None
    progress("writing the report")

    def cases() -> Iterator[Case]:
        return dataset.cases()

    now = datetime.now(UTC)
    return write_results(request.out, cases, methods.left_out, request.against, now)


def _open(
    settings: Settings, pair: ModelPair, *, with_locator: bool
) -> tuple[LoadedModels, LoadedModels | None]:
    """The models of the pair, and the embedded planner before the same segmenter."""
    open_models: Any = opener(settings)
    models: LoadedModels = open_models(pair)
    if not with_locator or pair.policy == LOCATOR:
        return models, None
    return models, open_models(ModelPair(LOCATOR, pair.segmenter))


def _end(dataset: Dataset, request: EvaluationRequest, cases: int) -> None:
    """Say that the part has ended. EvaluationFailed for a part without a case, when it is the only
    one: a report on nothing would look like one.
    """
    skipped = [{"file": skip.file, "reason": skip.reason} for skip in dataset.skipped]
    if not cases and request.shard.count == 1:
        first = f", such as {skipped[0]['file']} ({skipped[0]['reason']})" if skipped else ""
        raise EvaluationFailed(
            f"{request.data} has no case that can be used in "
            f"{request.split or 'any split'}: {len(skipped)} were left out{first}"
        )
    end_part(request.out, request.shard, cases, skipped)
