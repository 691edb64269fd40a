"""report.html is one file that needs no network and shows what results.json holds."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from agent.case import Case
from agent.limits import Limits
from models.evaluation.baselines import BASELINES, methods_of
from models.evaluation.comparison import compare
from models.evaluation.records import TargetRecord
from models.evaluation.reporting.report import make_report
from models.evaluation.run_folder import Run
from models.evaluation.runner import case_records
from models.evaluation.summary import summarise
from models.loaded_models import LoadedModels
from tests.support.toy_cases import toy_cases

pytest.importorskip("matplotlib")


@pytest.fixture
def cases(without_grey: Case) -> list[Case]:
    return [*toy_cases(3), without_grey]


@pytest.fixture
def records(cases: list[Case], toy_models: LoadedModels) -> list[TargetRecord]:
    methods = methods_of("threshold", toy_models, Limits(), tuple(BASELINES), toy_models)
    return [r for case in cases for r in case_records(case, methods.run, toy_models, set())]


def results_of(records: list[TargetRecord], **more: Any) -> dict[str, Any]:
    run = Run("<data>", "test", "threshold", "fake", (), (), 5)
    return {
        "run": asdict(run),
        "segnode": "0.1.0",
        "ended": "2026-01-02 03:04",
        **summarise(records),
        "left_out": {"box-only": "it takes boxes only"},
        "skipped": [{"file": "a&b.png", "reason": "it is damaged."}],
        "tolerances_mm": {"bright ellipse": 2.0},
        **more,
    }


def test_the_report_is_whole(records: list[TargetRecord], cases: list[Case]) -> None:
    figures = compare(records[:1], records[:1], Path("other"))
    against = {"folder": "other", "policy": "p", "segmenter": "s", "figures": figures}
    html = make_report(results_of(records, against=against), records, cases)

    assert html.startswith("<!doctype html>")
    for text in ("&lt;data&gt;, split test: 2 patients, 4 images", "Against p + s (other)"):
        assert text in html
    for text in ("box-only: it takes boxes only", "a&amp;b.png: it is damaged.", "NoC@85"):
        assert text in html
    assert "bright ellipse 2." in html
    assert html.count("data:image/svg+xml;base64,") == 4
    assert html.count("data:image/jpeg;base64,") == 3 * 3  # three ranks of three structures
    assert html.index("<h3>bright ellipse") < html.index("<h3>grey ellipse")


def test_nothing_is_fetched(records: list[TargetRecord], cases: list[Case]) -> None:
    html = make_report(results_of(records), records, cases)
    assert set(re.findall(r"(?:src|href)=['\"]?(\w+:)", html)) == {"data:"}
    assert "<script" not in html
    assert "@import" not in html
    assert "url(" not in html


def test_failures_are_listed(records: list[TargetRecord], cases: list[Case]) -> None:
    assert "<h2>Failures</h2>" not in make_report(results_of(records), records, [])
    failure = {"method": "x", "case": "c1", "target": "t", "reason": "out of <luck>"}
    html = make_report(results_of(records, failures=[failure]), records, [])
    assert "out of &lt;luck&gt;" in html


def test_without_the_cases_there_are_no_pictures(records: list[TargetRecord]) -> None:
    html = make_report(results_of(records), records, [])
    assert "image/jpeg" not in html
    assert "Best, median and worst" not in html
