"""Two runs in pairs: only the same targets with the same truths are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import EvaluationFailed
from models.evaluation.comparison import compare
from models.evaluation.metrics import Quality
from models.evaluation.records import TargetRecord
from tests.models.evaluation.test_summary import RECORDS, record

FOLDER = Path("other-run")


def better(records: Sequence[TargetRecord], by: float) -> list[TargetRecord]:
    """The same targets, each with a Dice higher by `by`."""
    return [
        replace(r, quality=replace(r.quality, dice=r.quality.dice + by))
        if r.present and r.quality
        else r
        for r in records
    ]


def many() -> list[TargetRecord]:
    return [record(str(n), f"p{n}", 0.5 + 0.01 * n) for n in range(8)]


def test_a_difference_is_found_over_patients() -> None:
    figures = compare(better(many(), 0.1), many(), FOLDER)["dice"]
    assert figures is not None
    assert figures["difference"]["mean"] == pytest.approx(0.1)
    assert figures["difference"]["low"] == pytest.approx(0.1)
    assert figures["p_value"] == 2 / 2**8
    assert figures["targets"] == 8


def test_a_run_against_itself_makes_no_difference() -> None:
    figures = compare(RECORDS, RECORDS, FOLDER)
    for name in ("dice", "score", "absent_answered"):
        figure = figures[name]
        assert figure is not None
        assert (figure["difference"]["mean"], figure["p_value"]) == (0.0, 1.0)


def test_slices_of_a_patient_are_no_independent_samples() -> None:
    ours = [record(str(n), "p1", 0.9) for n in range(50)]
    theirs = [record(str(n), "p1", 0.5) for n in range(50)]
    figures = compare(ours, theirs, FOLDER)["dice"]
    assert figures is not None
    assert figures["p_value"] == 1.0


def test_figures_that_one_run_lacks_are_left_out() -> None:
    without = [replace(r, quality=Quality(0.5, 0.4, None, None, None, 0.1)) for r in RECORDS]
    assert compare(RECORDS, without, FOLDER)["nsd"] is None


def test_another_set_of_targets_is_refused() -> None:
    with pytest.raises(EvaluationFailed, match=r"other-run is a run on other data: toy e left"):
        compare(RECORDS, RECORDS[:-1], FOLDER)
    with pytest.raises(EvaluationFailed, match="and 2 more are in one of both only"):
        compare(RECORDS, [], FOLDER)


def test_another_truth_under_the_same_name_is_refused() -> None:
    changed = [replace(RECORDS[0], truth_digest="ff"), *RECORDS[1:]]
    with pytest.raises(EvaluationFailed, match=r"truth of toy a left kidney was another \(1 of 5"):
        compare(RECORDS, changed, FOLDER)
