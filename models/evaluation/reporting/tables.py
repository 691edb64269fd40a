"""Tables and figures of a report as HTML, every text escaped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

NOTHING = "–"

Summary = Mapping[str, Any]
"""A part of results.json (models/evaluation/summary.py)."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, first: str = "") -> str:
    """A table whose first column is text and whose others are figures; cells are HTML already.
    `first` marks the row with that first cell.
    """
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join(
        f"<tr{' class=first' if first and row[0] == first else ''}>"
        + "".join(f"<td>{cell}</td>" for cell in row)
        + "</tr>"
        for row in rows
    )
    return (
        f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def methods_table(methods: Mapping[str, Summary], policy: str) -> str:
    """A line a method: all its figures over all targets."""
    columns: list[tuple[str, Callable[[Summary], str]]] = [
        ("Dice", lambda f: number(f["dice"], 3)),
        ("over patients [95 %]", lambda f: interval(f["dice"], 3)),
        ("IoU", lambda f: number(f["iou"], 3)),
        ("NSD", lambda f: number(f["nsd"], 3)),
        ("HD95, mm", lambda f: number(f["hd95_mm"], 1)),
        ("volume error", lambda f: percent(f["volume_error_share"])),
        ("absent right", lambda f: percent(f["absent_answered"])),
        ("F1 of presence", _f1),
        ("turns", lambda f: number(f["turns"], 2)),
        ("s a target", lambda f: number(f["seconds"], 2)),
        ("tokens a target", _tokens),
        ("failed", lambda f: f"{f['failed']} of {f['targets']}"),
    ]
    shown = [
        (title, cell)
        for title, cell in columns
        if any(cell(m["all"]) != NOTHING for m in methods.values())
    ]
    rows = [
        [escape(name), *(cell(method["all"]) for _, cell in shown)]
        for name, method in methods.items()
    ]
    return table(["", *(title for title, _ in shown)], rows, first=escape(policy))


def groups_table(methods: Mapping[str, Summary], policy: str, group: str, title: str) -> str:
    """A line a structure, modality or patient (`group` of results.json): the policy's figures, and
    beside them every method's Dice.
    """
    others = [name for name in methods if name != policy and _has_dice(methods[name]["all"])]
    rows = []
    for name, row in methods[policy][group].items():
        beside = [number(methods[o][group].get(name, {}).get("dice"), 3) for o in others]
        rows.append(
            [
                escape(name),
                f"{row['present']} of {row['targets']}",
                f"<b>{number(row['dice'], 3)}</b>",
                NOTHING if group == "by_patient" else interval(row["dice"], 3),
                *beside,
                number(row["nsd"], 3),
                number(row["hd95_mm"], 1),
                percent(row["absent_answered"]),
                str(row["failed"]),
            ]
        )
    header = [
        title,
        "present",
        f"Dice, {escape(policy)}",
        "over patients [95 %]",
        *map(escape, others),
        "NSD",
        "HD95, mm",
        "absent right",
        "failed",
    ]
    return table(*_without_empty_columns(header, rows))


def interactive_table(methods: Mapping[str, Summary]) -> str:
    """NoC of clicks, and the areas of box and clicks; "" where no method was given any."""
    parts = []
    for name, method in methods.items():
        noc, figures = method["all"]["noc"], method["all"]
        if noc is not None:
            rows = [
                [
                    f"NoC@{goal}",
                    f"{row['mean']:.2f} ± {row['sd']:.2f}",
                    f"{row['at_least_20']} of {noc['objects']}",
                ]
                for goal, row in noc["goals"].items()
            ]
            header = [escape(name), "clicks (mean ± SD)", "needed all 20"]
            parts.append(table(header, rows) + f"<p>{noc['seconds_a_click']:.2f} s a click.</p>")
        if figures["dsc_auc"] is not None:
            keys = ("dsc_auc", "nsd_auc", "final_dsc", "final_nsd")
            cells = [number(figures[key], 3) for key in keys]
            header = [escape(name), "DSC_AUC (of 4)", "NSD_AUC (of 4)", "final DSC", "final NSD"]
            parts.append(table(header, [["all structures", *cells]]))
    return "".join(parts)


def comparison_table(comparison: Mapping[str, Summary | None]) -> str:
    """A line a figure: the difference with its interval, and the p-value."""
    names = {
        "dice": "Dice where present",
        "score": "score of all targets",
        "nsd": "NSD",
        "hd95_mm": "HD95, mm (less is better)",
        "absent_answered": "absence rightly answered",
    }
    rows = []
    for key, row in comparison.items():
        if row is not None:
            difference = row["difference"]
            rows.append(
                [
                    names[key],
                    str(row["targets"]),
                    str(difference["patients"]),
                    f"{difference['mean']:+.3f}",
                    _bounds(difference, 3),
                    f"{row['p_value']:.4f}",
                ]
            )
    header = ["", "targets", "patients", "difference", "95 % interval", "p (permutation)"]
    return table(header, rows)


def failures_table(failures: Sequence[Summary], most: int = 100) -> str:
    """A line a failure; of very many the first, and how many more there are."""
    rows = [
        [*(escape(str(f[key])) for key in ("method", "case", "target", "reason"))]
        for f in failures[:most]
    ]
    more = len(failures) - len(rows)
    rest = f"<p>And {more} more: see results.json.</p>" if more else ""
    return f"<div class=texts>{table(['method', 'case', 'target', 'why'], rows)}</div>{rest}"


def number(figure: Summary | None, digits: int) -> str:
    """The mean of a figure over targets."""
    return NOTHING if figure is None else f"{figure['mean']:.{digits}f}"


def interval(figure: Summary | None, digits: int) -> str:
    """The mean over patients with its interval."""
    if figure is None:
        return NOTHING
    bounds = _bounds(figure, digits)
    return f"{figure['patient_mean']:.{digits}f} {bounds}" if bounds else "one patient"


def percent(figure: Summary | None) -> str:
    """A share in per cent."""
    return NOTHING if figure is None else f"{100 * figure['mean']:.1f} %"


def _bounds(figure: Summary, digits: int) -> str:
    if figure["low"] is None or figure["high"] is None:
        return ""
    return f"[{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"


def _f1(figures: Summary) -> str:
    f1, presence = figures["presence"]["f1"], figures["presence"]
    # where every target is there, F1 says nothing that the Dice does not
    absent = presence["true_negatives"] + presence["false_positives"]
    return NOTHING if f1 is None or not absent else f"{f1:.3f}"


def _tokens(figures: Summary) -> str:
    tokens = figures["input_tokens"]["mean"] + figures["output_tokens"]["mean"]
    return f"{tokens:.0f}" if tokens else NOTHING


def _has_dice(figures: Summary) -> bool:
    return figures["dice"] is not None


def _without_empty_columns(
    header: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    kept = [
        place
        for place in range(len(header))
        if place < 2 or any(row[place] not in (NOTHING, "0", "") for row in rows)
    ]
    return [header[place] for place in kept], [[row[place] for place in kept] for row in rows]
