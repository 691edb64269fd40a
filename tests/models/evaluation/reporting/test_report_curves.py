"""Curves are SVG with their words as text, the same for the same figures."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from models.errors import EvaluationFailed
from models.evaluation.reporting import curves

pytest.importorskip("matplotlib")

ROWS: list[dict[str, Any]] = [
    {"mean": 0.7, "low": 0.6, "high": 0.8},
    {"mean": 0.8, "low": None, "high": None},
]
BINS: list[dict[str, Any]] = [
    {"low": 0.1, "high": 0.2, "count": 0, "confidence": None, "score": None},
    {"low": 0.8, "high": 0.9, "count": 5, "confidence": 0.85, "score": 0.7},
]


def words(draw: curves.Draw) -> str:
    root = ElementTree.fromstring(curves.svg(draw))
    return " ".join(text.strip() for text in root.itertext() if text.strip())


def test_quality_by_turn_names_the_other_methods() -> None:
    drawn = words(curves.quality_by_turn(ROWS, {"oracle-box": 0.9}))
    assert "turns on each slice" in drawn
    assert "oracle-box" in drawn
    assert "the policy" in drawn


def test_clicks_begin_with_the_box_at_0() -> None:
    drawn = words(curves.quality_by_click({"interactive": (ROWS, 0)}))
    assert "interactive" in drawn
    assert " 0 " in drawn


def test_reliability_leaves_empty_bins_out() -> None:
    assert "the highest: 5" in words(curves.reliability(BINS))
    assert "confidence" in words(curves.reliability(BINS[:1]))


def test_a_histogram_has_its_turns() -> None:
    assert "targets" in words(curves.turns_histogram({"0": 3, "5": 1}))
    assert "targets" in words(curves.turns_histogram({}))


def test_the_same_figures_give_the_same_file() -> None:
    draw = curves.quality_by_turn(ROWS, {})
    assert curves.svg(draw) == curves.svg(draw)


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    curves.require_matplotlib()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EvaluationFailed, match=r"segnode\[train\]"):
        curves.require_matplotlib()
