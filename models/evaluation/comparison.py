"""Two runs on the same targets, compared in pairs: is one better than the other?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.errors import EvaluationFailed
from models.evaluation.records import TargetRecord
from models.evaluation.statistics import patient_means, permutation_test
from models.evaluation.summary import MEASURES

COMPARED = ("dice", "score", "nsd", "hd95_mm", "absent_answered")

Key = tuple[str, str, str]


def compare(
    ours: Sequence[TargetRecord], theirs: Sequence[TargetRecord], folder: Path
) -> dict[str, Any]:
    """Each figure of COMPARED of one method's lines against another's from `folder`: the mean
    difference over patients (ours less theirs), its interval, and the p-value of a permutation test
    over patients; None where no target has it.

    EvaluationFailed unless both are of the same targets with the same truths.
    """
    pairs = _pairs(ours, theirs, folder)
    return {name: _compared(name, pairs) for name in COMPARED}


def _compared(
    name: str, pairs: Sequence[tuple[TargetRecord, TargetRecord]]
) -> dict[str, Any] | None:
    measure = MEASURES[name]
    differences, patients = [], []
    for our, their in pairs:
        first, second = measure(our), measure(their)
        if first is not None and second is not None:
            differences.append(first - second)
            patients.append(our.patient)
    if not differences:
        return None
    return {
        "targets": len(differences),
        **asdict(permutation_test(patient_means(differences, patients))),
    }


def _pairs(
    ours: Sequence[TargetRecord], theirs: Sequence[TargetRecord], folder: Path
) -> list[tuple[TargetRecord, TargetRecord]]:
    first, second = ({_key(r): r for r in records} for records in (ours, theirs))
    lone = sorted(first.keys() ^ second.keys())
    if lone:
        named = ", ".join(" ".join(key) for key in lone[:3])
        more = f" and {len(lone) - 3} more" if len(lone) > 3 else ""
        raise EvaluationFailed(
            f"{folder} is a run on other data: {named}{more} are in one of both only; evaluate "
            "the same data and split, without --against, and compare then"
        )
    changed = [key for key in first if first[key].truth_digest != second[key].truth_digest]
    if changed:
        raise EvaluationFailed(
            f"{folder} is a run on other data: the truth of {' '.join(changed[0])} was another "
            f"({len(changed)} of {len(first)} are)"
        )
    return [(first[key], second[key]) for key in first]


def _key(record: TargetRecord) -> Key:
    return (record.dataset, record.case_id, record.target)
