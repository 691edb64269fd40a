"""The end of a run: results.json and report.html, made of all its lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agent.case import Case
from models.evaluation.comparison import compare
from models.evaluation.records import read_records
from models.evaluation.reporting.report import make_report
from models.evaluation.run_folder import read_run, records_of_policy, skipped_files
from models.evaluation.summary import summarise
from models.runtime.cache import write_atomically

RESULTS, REPORT = "results.json", "report.html"


def write_results(
    folder: Path,
    cases: Callable[[], Iterable[Case]],
    left_out: Mapping[str, str],
    against: Path | None,
    now: datetime,
) -> dict[str, Any]:
    """Write results.json and report.html of the run in `folder`; what results.json holds.

    `cases` gives the cases again, for pictures. With `against`, the folder of another run, the
    policies of both are compared. EvaluationFailed where that run is on other data, after this
    run's own files are written.
    """
    run, records = read_run(folder), read_records(folder)
    results: dict[str, Any] = {
        "run": asdict(run),
        "segnode": version("segnode"),
        "ended": now.strftime("%Y-%m-%d %H:%M"),
        **summarise(records),
        "left_out": dict(left_out),
        "skipped": skipped_files(folder),
        "tolerances_mm": {
            record.shown_structure: record.tolerance_mm
            for record in records
            if record.quality and record.quality.nsd is not None and record.tolerance_mm
        },
    }

    def write() -> None:
        content = json.dumps(results, indent=1, allow_nan=False)
        write_atomically(folder / RESULTS, f"{content}\n".encode())
        write_atomically(folder / REPORT, make_report(results, records, cases()).encode())

    if against is None:
        write()
        return results
    other = read_run(against)
    try:
        figures = compare(records_of_policy(folder), records_of_policy(against), against)
        results["against"] = {
            "folder": str(against),
            "policy": other.policy,
            "segmenter": other.segmenter,
            "figures": figures,
        }
    finally:
        write()  # what cannot be compared is still a result
    return results
