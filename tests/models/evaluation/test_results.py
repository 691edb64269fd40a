"""The end of a run: its two files, and a comparison that does not cost them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.errors import EvaluationFailed
from models.evaluation.records import Shard, TargetRecord, append
from models.evaluation.results import write_results
from models.evaluation.run_folder import Run, begin, end_part
from tests.models.evaluation.test_summary import RECORDS

pytest.importorskip("matplotlib")

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def run_at(folder: Path, records: Sequence[TargetRecord] = RECORDS) -> Path:
    begin(folder, Run("btcv", "", "ours", "fake", (), (), 5), resume=False)
    append(Shard().file(folder), records)
    end_part(folder, Shard(), 5, [{"file": "a.png", "reason": "it is damaged."}])
    return folder


def test_results_and_report_lie_in_the_folder(tmp_path: Path) -> None:
    results = write_results(run_at(tmp_path), list, {"locator": "it is the policy"}, None, NOW)
    written = json.loads((tmp_path / "results.json").read_text())
    assert written == json.loads(json.dumps(results))
    assert written["ended"] == "2026-01-02 03:04"
    assert written["skipped"] == [{"file": "a.png", "reason": "it is damaged."}]
    assert written["methods"]["ours"]["all"]["targets"] == 5
    assert "it is the policy" in (tmp_path / "report.html").read_text()


def test_a_run_is_compared_with_another(tmp_path: Path) -> None:
    other = run_at(tmp_path / "other")
    results = write_results(run_at(tmp_path / "ours"), list, {}, other, NOW)
    assert results["against"]["figures"]["dice"]["p_value"] == 1.0
    assert f"({other})" in (tmp_path / "ours" / "report.html").read_text()


def test_another_runs_data_is_refused_and_costs_nothing(tmp_path: Path) -> None:
    changed = [replace(record, truth_digest="ff") for record in RECORDS]
    other = run_at(tmp_path / "other", changed)
    with pytest.raises(EvaluationFailed, match="is a run on other data"):
        write_results(run_at(tmp_path / "ours"), list, {}, other, NOW)
    assert "against" not in json.loads((tmp_path / "ours" / "results.json").read_text())
