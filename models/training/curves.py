"""Curves of a training run as PNG files beside its checkpoints, for who has no tracker open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Curve = Sequence[tuple[int, float]]
"""(step, value) in ascending order."""

_INCHES_WIDE, _INCHES_HIGH = 7.0, 2.6
_DOTS_AN_INCH = 110


def draw_curves(file: Path, panels: Mapping[str, Mapping[str, Curve]]) -> None:
    """Draw one panel above the other, each of named curves over the steps; curves without points
    are left out, and nothing is written when all are.
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
            axes.plot(*zip(*curve, strict=True), label=name, marker=".", markersize=3)
        axes.set(xlabel="step", ylabel=title)
        axes.grid(visible=True, alpha=0.3)
        if len(curves) > 1:
            axes.legend()
    FigureCanvasAgg(figure).print_png(str(file))


def curve_of(history: Iterable[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """The values called `name` in a Trainer's log history, by step; the last one where a step has
    several.
    """
    return sorted(
        {int(entry["step"]): float(entry[name]) for entry in history if name in entry}.items()
    )
