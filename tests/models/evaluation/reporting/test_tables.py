"""Tables show what there is, and nothing that could be taken for markup."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.evaluation.comparison import compare
from models.evaluation.records import Clicks
from models.evaluation.reporting.tables import (
    comparison_table,
    failures_table,
    groups_table,
    interactive_table,
    interval,
    methods_table,
    number,
    percent,
)
from models.evaluation.summary import summarise
from tests.models.evaluation.test_summary import RECORDS, record

METHODS = summarise([*RECORDS, *[replace(r, method="<b>") for r in RECORDS]])["methods"]


def test_the_policy_is_marked_and_names_are_escaped() -> None:
    html = methods_table(METHODS, "ours")
    assert "<tr class=first><td>ours</td><td>0.467</td>" in html
    assert "<td>&lt;b&gt;</td>" in html
    assert "1 of 5" in html


def test_columns_that_nobody_fills_are_left_out() -> None:
    bare = summarise(
        [replace(r, quality=replace(r.quality, hd95_mm=None)) for r in RECORDS if r.quality]
    )
    assert "HD95" in methods_table(METHODS, "ours")
    assert "HD95" not in methods_table(bare["methods"], "ours")
    assert "HD95" not in groups_table(bare["methods"], "ours", "by_structure", "structure")


def test_a_structure_has_the_other_methods_beside_it() -> None:
    html = groups_table(METHODS, "ours", "by_structure", "structure")
    assert "<td>left kidney</td><td>3 of 5</td><td><b>0.467</b></td>" in html
    assert "<th>&lt;b&gt;</th>" in html


def test_ideal_prompts_have_their_tables() -> None:
    assert interactive_table(METHODS) == ""
    curve = (0.9, 0.0, 0.5, 1.0, 1.0, 1.0)
    boxed = record("a", "p", 1.0, clicks=Clicks(curve, curve, curve, box=True))
    clicked = record("a", "p", 1.0, method="c", clicks=Clicks(curve, curve))
    html = interactive_table(summarise([boxed, clicked])["methods"])
    assert "<td>3.000</td>" in html
    assert "NoC@90" in html
    assert "1.00 ± 0.00" in html


def test_a_comparison_has_its_sign() -> None:
    html = comparison_table(compare(RECORDS, RECORDS, Path("x")))
    assert "<td>+0.000</td>" in html
    assert "<td>1.0000</td>" in html


def test_very_many_failures_are_cut_and_counted() -> None:
    failure = {"method": "m", "case": "c", "target": "t", "reason": "a <broken> thing"}
    html = failures_table([failure] * 103, most=100)
    assert html.count("a &lt;broken&gt; thing") == 100
    assert "And 3 more" in html


def test_what_is_not_there_is_a_dash() -> None:
    assert (number(None, 2), interval(None, 2), percent(None)) == ("–", "–", "–")
    lone = {"mean": 0.5, "patient_mean": 0.5, "low": None, "high": None}
    assert interval(lone, 2) == "one patient"
