"""An evaluation: each case made ready once, all methods on it, a durable line a target and method.

`evaluate` takes any iterable of cases and goes on where an earlier run was interrupted. What a
method raises on a case counts as a failure of that target, with the reason in its line; a later run
tries it again, for it may have been a server that was down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.case import Case, Truth
from agent.values import Target, TargetStatus
from models.errors import EvaluationFailed
from models.evaluation.methods.answers import Method, MethodAnswer, PreparedCase, failure
from models.evaluation.metrics import Quality, SpacingMm, hd95_mm, overlap, quality
from models.evaluation.records import (
    PicturedSlice,
    Shard,
    TargetRecord,
    append,
    cut_torn_line,
    read_records,
    truth_digest,
)
from models.evaluation.tolerances import tolerance_of
from models.loaded_models import LoadedModels

OnProgress = Callable[[str], None]
"""Takes in words where the evaluation stands."""


@dataclass(frozen=True)
class Evaluated:
    """How many cases a part holds, how many answers were there before, and how many lines came
    now.
    """

    cases: int
    lines_before: int
    lines_now: int


def evaluate(
    cases: Iterable[Case],
    methods: Sequence[Method],
    models: LoadedModels,
    folder: Path,
    *,
    shard: Shard | None = None,
    on_progress: OnProgress = lambda _: None,
) -> Evaluated:
    """Run `methods` on the cases of a part and leave their lines in `folder`; targets whose lines
    are there already are not worked on again, unless they failed. `models` bring the cases to the
    working grid.

    EvaluationFailed for two cases of one name, and for lines that cannot be read.
    """
    shard = shard or Shard()
    file = shard.file(folder)
    cut_torn_line(file)
    before = {record.key for record in read_records(folder) if not record.failed}
    names_seen: set[tuple[str, str]] = set()
    held, lines = 0, 0
    for index, case in enumerate(cases):
        if (case.dataset, case.case_id) in names_seen:
            raise EvaluationFailed(
                f"two cases of {case.dataset} are called {case.case_id}: names must be unique"
            )
        names_seen.add((case.dataset, case.case_id))
        if not shard.holds(index):
            continue
        held += 1
        for record in case_records(case, methods, models, before):
            append(file, [record])
            lines += 1
            on_progress(f"case {index + 1} ({case.case_id}): {record.target}, {record.method}")
    return Evaluated(held, len(before), lines)


def case_records(
    case: Case,
    methods: Sequence[Method],
    models: LoadedModels,
    done: set[tuple[str, str, str, str]],
) -> Iterator[TargetRecord]:
    """The lines of a case that are not in `done`, by their keys."""
    prepared: PreparedCase | None = None
    truths = {truth.target.text: truth for truth in case.truths}
    for method in methods:
        waiting = [
            target
            for target in method.targets(case)
            if any((case.dataset, case.case_id, target.text, n) not in done for n in method.names)
        ]
        if not waiting:
            continue
        if prepared is None:
            prepared = PreparedCase.of(case, models)
        for answer in _answers(method, prepared, waiting):
            truth = truths[answer.target.text]
            for name, named_answer in ((method.name, answer), *answer.also.items()):
                record = record_of(case, truth, name, named_answer)
                if record.key not in done:
                    yield record


def _answers(
    method: Method, case: PreparedCase, targets: Sequence[Target]
) -> Iterator[MethodAnswer]:
    """The method's answers; where it raises, a failure for each target without an answer."""
    waiting = {target.text: target for target in targets}
    try:
        for answer in method.answers(case, targets):
            waiting.pop(answer.target.text)
            yield answer
    except Exception as fault:  # noqa: BLE001 - one case must not end an evaluation of days
        for target in waiting.values():
            failed = failure(target, fault)
            yield replace(failed, also=dict.fromkeys(method.names[1:], failed))


def record_of(case: Case, truth: Truth, method: str, answer: MethodAnswer) -> TargetRecord:
    """The line of an answer: judged on the case's own grid."""
    spacing = case.volume.geometry.spacing_mm if case.spacing_known else None
    tolerance = tolerance_of(truth.target)
    mask = answer.mask if answer.mask is not None else np.zeros_like(truth.voxels)
    confidence, faults = _confidence(answer)
    record = TargetRecord(
        case_id=case.case_id,
        patient=case.patient,
        dataset=case.dataset,
        split=case.split,
        modality=case.volume.modality,
        depth=case.volume.geometry.shape[0],
        target=truth.target.text,
        structure=truth.target.structure,
        method=method,
        present=not truth.absent,
        truth_digest=truth_digest(truth.voxels),
        status=answer.status,
        answered=bool(mask.any()),
        reason=answer.reason,
        tolerance_mm=tolerance.mm,
        confidence=confidence,
        turns=len(answer.turns),
        clicks=answer.clicks,
        seconds=answer.seconds,
        encoder_passes=answer.encoder_passes,
        input_tokens=sum(turn.usage.input_tokens for turn in answer.turns if turn.usage),
        output_tokens=sum(turn.usage.output_tokens for turn in answer.turns if turn.usage),
        cost=sum(turn.usage.cost for turn in answer.turns if turn.usage),
        faults=faults,
    )
    if not answer.judged:
        return record
    judged = quality(mask, truth.voxels, spacing, tolerance.mm)
    if record.unanswered:
        judged = _of_failure(truth.voxels, judged, spacing)
    by_turn = () if answer.masks_by_turn is None else _by_turn(answer, truth.voxels)
    return replace(record, quality=judged, by_turn=by_turn, picture=_picture(mask, truth.voxels))


def _of_failure(
    truth: NDArray[np.bool_], of_empty: Quality, spacing_mm: SpacingMm | None
) -> Quality:
    """A failure's figures: those of an empty mask, and the worst there are where the truth is empty
    too, for nobody said so.
    """
    if truth.any():
        return of_empty
    worst = None if spacing_mm is None else hd95_mm(truth, np.ones_like(truth), spacing_mm)
    return replace(of_empty, dice=0.0, iou=0.0, nsd=None if worst is None else 0.0, hd95_mm=worst)


def _by_turn(answer: MethodAnswer, truth: NDArray[np.bool_]) -> tuple[float, ...]:
    masks = answer.masks_by_turn() if answer.masks_by_turn is not None else []
    dice: list[float] = []
    for number, mask in enumerate(masks):
        same = number and mask is masks[number - 1]
        dice.append(dice[-1] if same else overlap(mask, truth)[0])
    unanswered = answer.status in (TargetStatus.FAILED, TargetStatus.UNCERTAIN)
    return tuple(0.0 for _ in dice) if unanswered else tuple(dice)


def _confidence(answer: MethodAnswer) -> tuple[float | None, tuple[str, ...]]:
    """The confidence for the line, and what is wrong with it."""
    confidence = answer.confidence
    if confidence is None:
        return None, ()
    if not math.isfinite(confidence) or not 0 <= confidence <= 1:
        return None, (f"its confidence is {confidence}, no number in 0..1",)
    return float(confidence), ()


def _picture(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> PicturedSlice:
    """The slice with most of the truth, of the result where there is none."""
    areas = (truth if truth.any() else mask).sum(axis=(1, 2))
    z = int(areas.argmax())
    return PicturedSlice.of(z, mask[z])
