"""results.json: the figures of a run, of all its lines, by structure, by modality and by patient.

The mean of a figure is over targets, as papers print it; beside it stands the mean over patients
with its 95 % bootstrap interval, which is what a difference must be judged by. Overlap and surfaces
are means over the structures that are there, a failure or a miss counting 0; `score` is over all
targets, an absence rightly answered counting 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, pstdev
from typing import Any

from models.evaluation.methods.interactive import area_under
from models.evaluation.methods.oracle_clicks import GOALS, MOST_CLICKS, clicks_to
from models.evaluation.records import TargetRecord
from models.evaluation.statistics import calibration_of, over_patients, presence_of

VERSION = 1

Measure = Callable[[TargetRecord], float | None]
"""A figure of one target; None where it has none."""

MEASURES: Mapping[str, Measure] = {
    "dice": lambda r: r.quality.dice if r.quality and r.present else None,
    "iou": lambda r: r.quality.iou if r.quality and r.present else None,
    "nsd": lambda r: r.quality.nsd if r.quality and r.present else None,
    "hd95_mm": lambda r: r.quality.hd95_mm if r.quality and r.present else None,
    "volume_error_ml": lambda r: r.quality.volume_error_ml if r.quality and r.present else None,
    "volume_error_share": lambda r: r.quality.volume_error_share if r.quality else None,
    "score": lambda r: r.quality.dice if r.quality else None,
    "absent_answered": lambda r: None if r.present else float(not r.answered_present),
    "turns": lambda r: float(r.turns),
    "seconds": lambda r: r.seconds,
    "input_tokens": lambda r: float(r.input_tokens),
    "output_tokens": lambda r: float(r.output_tokens),
    "cost": lambda r: r.cost,
    "dsc_auc": lambda r: _area(r.clicks.dice) if r.clicks and r.clicks.box else None,
    "nsd_auc": lambda r: _area(r.clicks.nsd) if r.clicks and r.clicks.box else None,
    "final_dsc": lambda r: r.clicks.dice[-1] if r.clicks and r.clicks.box else None,
    "final_nsd": lambda r: r.clicks.nsd[-1] if r.clicks and r.clicks.box and r.clicks.nsd else None,
}


def summarise(records: Sequence[TargetRecord]) -> dict[str, Any]:
    """The figures of a run's lines as JSON values."""
    methods = list(dict.fromkeys(record.method for record in records))
    of_method = {name: [r for r in records if r.method == name] for name in methods}
    first = next(iter(of_method.values()), [])
    return {
        "version": VERSION,
        "counts": {
            "patients": len({r.patient for r in records}),
            "cases": len({(r.dataset, r.case_id) for r in records}),
            "targets": len(first),
            "present": sum(r.present for r in first),
        },
        "methods": {
            name: {
                "all": figures(group),
                "by_structure": _by(group, lambda r: r.shown_structure),
                "by_modality": _by(group, lambda r: r.modality),
                "by_patient": _by(group, lambda r: r.patient),
            }
            for name, group in of_method.items()
        },
        "failures": [_failure(r) for r in records if r.failed],
        "faults": [_failure(r) | {"reason": text} for r in records for text in r.faults],
    }


def figures(records: Sequence[TargetRecord]) -> dict[str, Any]:
    """The figures of lines of one method."""
    present = [r.present for r in records]
    presence = presence_of(present, [r.answered_present for r in records])
    scored = [(r.confidence, _score(r)) for r in records if r.confidence is not None and r.quality]
    calibration = calibration_of([c or 0.0 for c, _ in scored], [s for _, s in scored])
    return {
        "targets": len(records),
        "present": sum(present),
        "failed": sum(r.failed for r in records),
        **{name: mean_of(records, measure) for name, measure in MEASURES.items()},
        "presence": {
            **asdict(presence),
            "sensitivity": presence.sensitivity,
            "specificity": presence.specificity,
            "f1": presence.f1,
        },
        "calibration": None if calibration is None else asdict(calibration),
        "turns_histogram": {
            str(turns): count for turns, count in sorted(Counter(r.turns for r in records).items())
        },
        "by_turn": by_step(_turn_curves(records), [r.patient for r in records if r.present]),
        "by_click": _by_click(records),
        "noc": _noc(records),
    }


def mean_of(records: Iterable[TargetRecord], measure: Measure) -> dict[str, Any] | None:
    """A figure's mean over targets, and over patients with its interval; None where no target has
    it.
    """
    pairs = [(value, r.patient) for r in records if (value := measure(r)) is not None]
    interval = over_patients([value for value, _ in pairs], [patient for _, patient in pairs])
    if interval is None:
        return None
    return {
        "mean": fmean(value for value, _ in pairs),
        "targets": len(pairs),
        "patient_mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "patients": interval.patients,
    }


def by_step(curves: Sequence[Sequence[float]], patients: Sequence[str]) -> list[dict[str, Any]]:
    """The mean of curves after each step, with its interval over patients; a curve that ended
    earlier keeps its last value, one without a value is 0.
    """
    steps = max(map(len, curves), default=0)
    padded = [
        [*curve, *[curve[-1] if curve else 0.0] * (steps - len(curve))][:steps] for curve in curves
    ]
    rows = []
    for step in range(steps):
        values = [curve[step] for curve in padded]
        interval = over_patients(values, patients)
        bounds = {} if interval is None else {"low": interval.low, "high": interval.high}
        rows.append({"mean": fmean(values), **bounds})
    return rows


def _turn_curves(records: Sequence[TargetRecord]) -> list[tuple[float, ...]]:
    """Dice by turn of the structures that are there; those that failed have none, and count 0."""
    if not any(r.by_turn for r in records):
        return []
    return [r.by_turn for r in records if r.present]


def _by_click(records: Sequence[TargetRecord]) -> dict[str, Any] | None:
    clicked = [(r.clicks, r.patient) for r in records if r.clicks is not None]
    if not clicked:
        return None
    patients = [patient for _, patient in clicked]
    with_surfaces = [(c.nsd, patient) for c, patient in clicked if c.nsd is not None]
    return {
        "starts_with_box": clicked[0][0].box,
        "dice": by_step([c.dice for c, _ in clicked], patients),
        "iou": by_step([c.iou for c, _ in clicked], patients),
        "nsd": by_step([nsd for nsd, _ in with_surfaces], [p for _, p in with_surfaces]),
    }


def _noc(records: Sequence[TargetRecord]) -> dict[str, Any] | None:
    """NoC by objects (RITM): mean, standard deviation, and how many needed all clicks. An object
    whose clicks failed counts as never reached.
    """
    clicks_only = [r for r in records if r.clicks is not None and not r.clicks.box]
    if not clicks_only:
        return None
    failed = [r for r in records if r.clicks is None and r.failed]
    curves = [r.clicks.iou for r in clicks_only if r.clicks] + [()] * len(failed)
    goals: dict[str, Any] = {}
    for goal in GOALS:
        counts = [clicks_to(curve, goal) for curve in curves]
        goals[f"{100 * goal:.0f}"] = {
            "mean": fmean(counts),
            "sd": pstdev(counts),
            f"at_least_{MOST_CLICKS}": sum(count >= MOST_CLICKS for count in counts),
        }
    clicks = sum(map(len, curves))
    seconds = sum(r.seconds for r in clicks_only)
    return {"objects": len(curves), "seconds_a_click": seconds / max(clicks, 1), "goals": goals}


def _area(values: Sequence[float] | None) -> float | None:
    """The area under the clicks after the box."""
    return None if values is None else area_under(values[1:])


def _score(record: TargetRecord) -> float:
    return record.quality.dice if record.quality is not None else 0.0


def _by(
    records: Sequence[TargetRecord], group_of: Callable[[TargetRecord], str]
) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[TargetRecord]] = {}
    for record in records:
        groups.setdefault(group_of(record), []).append(record)
    return {name: figures(group) for name, group in groups.items()}


def _failure(record: TargetRecord) -> dict[str, Any]:
    return {
        "method": record.method,
        "dataset": record.dataset,
        "case": record.case_id,
        "patient": record.patient,
        "target": record.target,
        "reason": record.reason,
    }
