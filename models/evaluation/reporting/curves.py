"""The curves of a report as SVG, drawn with matplotlib, which the extra `segnode[train]` brings."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from models.errors import EvaluationFailed

INK, ACCENT, GREY = "#1f2937", "#1d6fb8", "#9aa3af"
LINES = ("#c2571a", "#2e7d4f", "#7a4fa3", "#b0305c", "#5d6b1f")
SIZE_INCHES = (4.6, 3.1)
_LOOKS = {
    "svg.fonttype": "none",  # text stays text: it can be read, searched and copied
    "svg.hashsalt": "segnode",  # the same figures give the same file
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}

Draw = Callable[[Any], None]
"""Draws on a matplotlib Axes."""


def require_matplotlib() -> None:
    """EvaluationFailed, with what to do, where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401 - whether it is there
    except ImportError as missing:
        raise EvaluationFailed(
            "the report's curves need matplotlib: pip install 'segnode[train]'"
        ) from missing


def svg(draw: Draw) -> bytes:
    """What `draw` draws, as an SVG file; no window, no display."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_LOOKS):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def quality_by_turn(rows: Sequence[Mapping[str, Any]], others: Mapping[str, float]) -> Draw:
    """Dice after each turn with its interval over patients, and other methods' Dice as lines."""

    def draw(axes: Any) -> None:
        turns = range(1, len(rows) + 1)
        _band(axes, turns, rows, ACCENT, "the policy")
        for (name, value), colour in zip(others.items(), _cycled(len(others)), strict=True):
            axes.axhline(value, color=colour, linestyle="--", linewidth=1.1, label=name)
        _percent(axes, [row["mean"] for row in rows] + list(others.values()))
        axes.set_xticks(list(turns))
        axes.set_xlabel("turns on each slice")
        axes.set_ylabel("Dice where present")
        axes.legend(frameon=False, fontsize=8)

    return draw


def quality_by_click(curves: Mapping[str, tuple[Sequence[Mapping[str, Any]], int]]) -> Draw:
    """Curves by click with their intervals, each with the number of its first step (0: a box)."""

    def draw(axes: Any) -> None:
        for (name, (rows, first)), colour in zip(curves.items(), _cycled(len(curves)), strict=True):
            _band(axes, range(first, first + len(rows)), rows, colour, name)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("clicks")
        axes.set_ylabel("Dice")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False, fontsize=8)

    return draw


def reliability(bins: Sequence[Mapping[str, Any]]) -> Draw:
    """What came of each tenth of confidence, over how many targets it was."""

    def draw(axes: Any) -> None:
        filled = [item for item in bins if item["count"]]
        total = max(item["count"] for item in filled) if filled else 1
        axes.bar(
            [(item["low"] + item["high"]) / 2 for item in filled],
            [0.25 * item["count"] / total for item in filled],
            width=0.09,
            color="#dbe3ec",
            label=f"how many (the highest: {total})",
        )
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        axes.plot(
            [item["confidence"] for item in filled],
            [item["score"] for item in filled],
            color=ACCENT,
            marker="o",
            markersize=4,
            label="score",
        )
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("confidence")
        axes.set_ylabel("score (Dice; absent rightly: 1)")
        axes.legend(frameon=False, fontsize=8, loc="upper left")

    return draw


def turns_histogram(counts: Mapping[str, int]) -> Draw:
    """How many targets took how many turns."""

    def draw(axes: Any) -> None:
        turns = [int(name) for name in counts]
        axes.bar(turns, list(counts.values()), color=ACCENT, width=0.8)
        if max(turns, default=0) <= 12:
            axes.set_xticks(range(max(turns, default=0) + 1))
        axes.set_xlabel("turns")
        axes.set_ylabel("targets")

    return draw


def _band(
    axes: Any, steps: Sequence[int], rows: Sequence[Mapping[str, Any]], colour: str, label: str
) -> None:
    means = [row["mean"] for row in rows]
    axes.plot(steps, means, color=colour, marker="o", markersize=3.5, label=label)
    if all(row.get("low") is not None for row in rows):
        low, high = [row["low"] for row in rows], [row["high"] for row in rows]
        axes.fill_between(steps, low, high, color=colour, alpha=0.13, linewidth=0)


def _percent(axes: Any, values: Sequence[float]) -> None:
    """An axis of shares that shows differences: not from 0 where all lie high."""
    lowest = min(values, default=0.0)
    axes.set_ylim(0.0 if lowest < 0.5 else 0.4, 1.02)


def _cycled(count: int) -> list[str]:
    return [LINES[number % len(LINES)] for number in range(count)]
