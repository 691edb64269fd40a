"""Curves of a training run as PNG files beside its checkpoints, for who has no tracker open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Curve = Sequence[tuple[int, float]]
"""(step, value) in ascending order."""

_INCHES_WIDE, _INCHES_HIGH = 7.0, 2.6
_DOTS_AN_INCH = 110
_WINDOWS = 10  # of a running mean in a curve


def draw_curves(file: Path, panels: Mapping[str, Mapping[str, Curve]]) -> None:
    """Draw one panel above the other, each of named curves over the steps; curves without points
    are left out, and nothing is written when all are. A long curve is drawn as its running mean,
    with the values themselves faint behind it: each step of a run sees other cases.
    """
    drawn = {
        title: {name: curve for name, curve in curves.items() if curve}
        for title, curves in panels.items()
    }
    drawn = {title: curves for title, curves in drawn.items() if curves}
    if not drawn:
        return
    figure = Figure(
        figsize=(_INCHES_WIDE, _INCHES_HIGH * len(drawn)), dpi=_DOTS_AN_INCH, layout="constrained"
    )
    for axes, (title, curves) in zip(
        figure.subplots(len(drawn), squeeze=False)[:, 0], drawn.items(), strict=True
    ):
        for name, curve in curves.items():
            _plot(axes, name, curve)
        axes.set(xlabel="step", ylabel=title)
        axes.grid(visible=True, alpha=0.3)
        if len(curves) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
    FigureCanvasAgg(figure).print_png(str(file))


def running_mean(curve: Curve) -> Curve:
    """The mean of each value and its neighbours, a tenth of the curve in all; fewer at its ends."""
    half = len(curve) // (2 * _WINDOWS)
    values = [value for _, value in curve]
    means = (fmean(values[max(i - half, 0) : i + half + 1]) for i in range(len(values)))
    return [(step, mean) for (step, _), mean in zip(curve, means, strict=True)]


def _plot(axes: Axes, name: str, curve: Curve) -> None:
    if len(curve) < 2 * _WINDOWS:
        axes.plot(*zip(*curve, strict=True), label=name, marker=".", markersize=3)
        return
    (line,) = axes.plot(*zip(*running_mean(curve), strict=True), label=name)
    axes.plot(*zip(*curve, strict=True), color=line.get_color(), alpha=0.25, linewidth=0.8)


def curve_of(history: Iterable[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """The values called `name` in a Trainer's log history, by step; the last one where a step has
    several.
    """
    return sorted(
        {int(entry["step"]): float(entry[name]) for entry in history if name in entry}.items()
    )
