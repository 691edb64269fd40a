"""report.html: a run's figures for people, in one file that needs no network."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from agent.case import Case
from models.evaluation.records import TargetRecord
from models.evaluation.reporting import curves
from models.evaluation.reporting.pictures import choose_telling, draw_pictures
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

MOST_STRUCTURES = 15
"""With pictures; the most frequent ones of a run with more."""

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2937; background: #fff;
       max-width: 1080px; margin: 0 auto; padding: 28px 24px 60px; }
h1 { font-size: 26px; margin: 0 0 2px; } h2 { font-size: 19px; margin: 38px 0 8px;
     padding-top: 14px; border-top: 1px solid #e5e7eb; }
h3 { font-size: 15px; margin: 18px 0 6px; }
p, li { max-width: 76ch; } .dim { color: #6b7280; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0 4px; }
.tile { border: 1px solid #e5e7eb; border-radius: 8px; padding: 10px 16px; min-width: 128px; }
.tile b { display: block; font-size: 24px; line-height: 1.25; }
.tile span { color: #6b7280; font-size: 13px; }
.wide { overflow-x: auto; margin: 8px 0; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 12px 4px 0; text-align: right; white-space: nowrap; vertical-align: top; }
th { color: #6b7280; font-weight: 500; border-bottom: 1px solid #d1d5db; }
td { border-bottom: 1px solid #f1f3f5; }
th:first-child, td:first-child { text-align: left; }
tr.first td { font-weight: 600; background: #f3f8fd; }
.texts td, .texts th { text-align: left; white-space: normal; }
.curves { display: flex; flex-wrap: wrap; gap: 20px; } .curves figure { flex: 1 1 440px; }
figure { margin: 0; } figure img { display: block; max-width: 100%; }
figcaption { font-size: 13px; color: #6b7280; margin-top: 3px; }
.row { display: flex; gap: 14px; flex-wrap: wrap; margin-bottom: 10px; }
.row figure { width: 300px; } .row img { border-radius: 4px; background: #0c0e12; }
.truth { color: #1f9d55; font-weight: 600; } .result { color: #d97706; font-weight: 600; }
@media print { body { max-width: none; } figure { break-inside: avoid; } }
"""


def make_report(
    results: Mapping[str, Any], records: Sequence[TargetRecord], cases: Iterable[Case]
) -> str:
    """The report of results.json and its lines; `cases` are read again for the pictures."""
    methods, policy = results["methods"], results["run"]["policy"]
    parts = [
        _head(results),
        "<h2>Policy and baselines</h2>",
        methods_table(methods, policy),
        _left_out(results["left_out"]),
        _comparison(results.get("against")),
        "<h2>Curves</h2>",
        _curves(methods, policy),
        _interactive(methods),
        "<h2>By structure</h2>",
        groups_table(methods, policy, "by_structure", "structure"),
        _other_groups(methods, policy),
        _pictures(records, policy, cases),
        _troubles(results),
        _how(results),
    ]
    title = escape(f"Evaluation of {policy} + {results['run']['segmenter']}")
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}</title>"
        f'<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _head(results: Mapping[str, Any]) -> str:
    run, counts = results["run"], results["counts"]
    figures = results["methods"][run["policy"]]["all"]
    presence = figures["presence"]
    tiles = [
        (number(figures["dice"], 3), "Dice where present"),
        (interval(figures["dice"], 3), "over patients, 95 % interval"),
        (percent(figures["absent_answered"]), "absence rightly answered"),
        (_decimal(presence["sensitivity"]), "sensitivity of presence"),
        (_decimal(presence["specificity"]), "specificity of presence"),
        (
            _decimal(figures["calibration"] and figures["calibration"]["ece"]),
            "calibration error (ECE)",
        ),
        (number(figures["seconds"], 2), "seconds a target"),
        (str(figures["failed"]), f"of {figures['targets']} targets failed"),
    ]
    shown = "".join(f"<div class=tile><b>{a}</b><span>{b}</span></div>" for a, b in tiles)
    split = f", split {run['split']}" if run["split"] else ""
    return (
        f"<h1>{escape(run['policy'])} + {escape(run['segmenter'])}</h1>"
        f"<div class=dim>{escape(run['data'] + split)}: {counts['patients']} patients, "
        f"{counts['cases']} images, {counts['targets']} targets, {counts['present']} of them "
        f"present. Segnode {escape(results['segnode'])}, {escape(results['ended'])}.</div>"
        f"<div class=tiles>{shown}</div>"
    )


def _left_out(left_out: Mapping[str, str]) -> str:
    lines = "".join(f"<li>{escape(n)}: {escape(why)}</li>" for n, why in left_out.items())
    return f"<p>Not run:</p><ul>{lines}</ul>" if lines else ""


def _comparison(against: Mapping[str, Any] | None) -> str:
    if against is None:
        return ""
    other = escape(f"{against['policy']} + {against['segmenter']} ({against['folder']})")
    return (
        f"<h2>Against {other}</h2><p>This run less that one, on the same targets; means over "
        "patients. p: how often chance alone, exchanging both runs' results within patients, "
        f"gives as large a difference.</p>{comparison_table(against['figures'])}"
    )


def _curves(methods: Mapping[str, Any], policy: str) -> str:
    figures = methods[policy]["all"]
    others = {
        name: method["all"]["dice"]["mean"]
        for name, method in methods.items()
        if name != policy and method["all"]["dice"] is not None
    }
    drawn = []
    if figures["by_turn"]:
        drawn.append(
            (
                curves.quality_by_turn(figures["by_turn"], others),
                "The best mask after each turn. Band: 95 % over patients; dashed: other methods.",
            )
        )
    drawn.append((curves.turns_histogram(figures["turns_histogram"]), "Turns a target took."))
    if figures["calibration"] is not None:
        drawn.append(
            (
                curves.reliability(figures["calibration"]["bins"]),
                "What came of each tenth of confidence; on the dotted line it is right.",
            )
        )
    clicked = {
        name: (by_click["dice"], 0 if by_click["starts_with_box"] else 1)
        for name, method in methods.items()
        if (by_click := method["all"]["by_click"]) is not None
    }
    if clicked:
        drawn.append(
            (curves.quality_by_click(clicked), "Ideal clicks; at 0 the box, where one came first.")
        )
    shown = "".join(
        f"<figure><img alt='{escape(caption, quote=True)}' "
        f"src='{_data_url(curves.svg(draw), 'image/svg+xml')}'>"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for draw, caption in drawn
    )
    return f"<div class=curves>{shown}</div>"


def _interactive(methods: Mapping[str, Any]) -> str:
    tables = interactive_table(methods)
    return f"<h2>Ideal prompts</h2>{tables}" if tables else ""


def _other_groups(methods: Mapping[str, Any], policy: str) -> str:
    parts = []
    if len(methods[policy]["by_modality"]) > 1:
        parts.append("<h2>By modality</h2>")
        parts.append(groups_table(methods, policy, "by_modality", "modality"))
    if 1 < len(methods[policy]["by_patient"]) <= 200:
        parts.append("<h2>By patient</h2>")
        parts.append(groups_table(methods, policy, "by_patient", "patient"))
    return "".join(parts)


def _pictures(records: Sequence[TargetRecord], policy: str, cases: Iterable[Case]) -> str:
    telling = choose_telling([record for record in records if record.method == policy])
    counts = {name: sum(r.shown_structure == name for r in records) for name in telling}
    frequent = sorted(telling, key=lambda name: -counts[name])[:MOST_STRUCTURES]
    wanted = [record for name in frequent for record in telling[name].values()]
    pictures = draw_pictures(cases, wanted)
    rows = []
    for name in (name for name in telling if name in frequent):
        figures = [
            _picture(rank, record, pictures[record.key])
            for rank, record in telling[name].items()
            if record.key in pictures
        ]
        if figures:
            rows.append(f"<h3>{escape(name)}</h3><div class=row>{''.join(figures)}</div>")
    if not rows:
        return ""
    return (
        "<h2>Best, median and worst</h2><p>By Dice, of the structures that are there: "
        "<span class=truth>truth</span> and <span class=result>result</span>, the result on "
        f"top.</p>{''.join(rows)}"
    )


def _picture(rank: str, record: TargetRecord, picture: bytes) -> str:
    dice = record.quality.dice if record.quality else 0.0
    answer = f"Dice {dice:.3f}" if record.answered else f"answered {record.status}"
    sure = "" if record.confidence is None else f", confidence {record.confidence:.2f}"
    place = f", slice {record.picture.slice_index}" if record.picture and record.depth > 1 else ""
    caption = escape(f"{rank}: {answer}{sure}; {record.case_id}{place}")
    url = _data_url(picture, "image/jpeg")
    return f"<figure><img alt='{caption}' src='{url}'><figcaption>{caption}</figcaption></figure>"


def _troubles(results: Mapping[str, Any]) -> str:
    parts = []
    if results["failures"]:
        parts.append("<h2>Failures</h2><p>Each counts 0, whatever the truth.</p>")
        parts.append(failures_table(results["failures"]))
    if results["faults"]:
        parts.append("<h2>Odd answers</h2>")
        parts.append(failures_table(results["faults"]))
    if results["skipped"]:
        parts.append("<h2>Files that could not be used</h2><ul>")
        parts += [
            f"<li>{escape(s['file'])}: {escape(s['reason'])}</li>" for s in results["skipped"]
        ]
        parts.append("</ul>")
    return "".join(parts)


def _how(results: Mapping[str, Any]) -> str:
    tolerances = ", ".join(f"{escape(n)} {mm:g}" for n, mm in results["tolerances_mm"].items())
    spacing = f" NSD at (mm): {tolerances}." if tolerances else ""
    return (
        "<h2>How it was counted</h2><ul>"
        "<li>Dice, IoU, NSD, HD95 and volume error are means over the targets that are there; one "
        "that was missed or failed counts 0, in HD95 the diagonal of the image.</li>"
        "<li>The patient is the unit of intervals and tests: figures are averaged within a patient "
        "first, then patients are drawn again 10,000 times.</li>"
        "<li>The score that confidence is held against is the Dice, and 1 for an absence rightly "
        f"answered.{spacing}</li>"
        "<li>oracle-box: a box round the truth, widened by 3 pixels, in one turn. oracle-clicks: "
        "up to 20 ideal clicks on the largest slice (NoC as RITM counts). interactive: a box and "
        "five ideal clicks as the CVPR 2025 challenge counts them, not normalised, NSD at 2 mm. "
        "box-only: the same policy without clicks. last-mask: the same turns, the last mask kept "
        "instead of the best. single-turn: one turn on each slice. These prompts are ideal; "
        "people's are not.</li>"
        "<li>Each image is encoded once for all methods; the time falls to the first, which is the "
        "policy.</li></ul>"
    )


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _data_url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
