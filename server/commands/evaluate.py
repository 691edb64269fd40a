"""`segnode evaluate`: a policy and a segmenter judged on cases with a truth, beside baselines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from models.evaluation.records import Shard
from server.commands.console import Progress, say, table
from server.commands.options import Load, add_config, add_models, settings_of
from server.commands.segment import with_models

HEADER = ("method", "targets", "failed", "Dice", "NSD", "absent right", "turns", "s a target")
PART_USAGE = "give a part as I/K with 1 <= I <= K, such as 2/4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `evaluate` takes."""
    add_config(parser, _evaluate)
    parser.add_argument("data", metavar="DATA", type=Path, help="a data set, or a DICOM folder")
    parser.add_argument(
        "--split", metavar="NAME", help="training, validation or test; all of it unless named"
    )
    add_models(parser)
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="where lines, results and report go"
    )
    parser.add_argument(
        "--baselines",
        metavar="NAMES",
        default="all",
        help="which to run beside the policy: all, none, or names with commas between",
    )
    parser.add_argument(
        "--against", metavar="DIR", type=Path, help="another run's folder, compared in pairs"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in DIR; what is done stays, what failed is tried again",
    )
    parser.add_argument(
        "--shards",
        metavar="I/K",
        type=_shard,
        default="1/1",
        help="the I-th of K parts (1/1); the last part to end writes the report",
    )


def _shard(word: str) -> Shard:
    number, _, count = word.partition("/")
    try:
        return Shard(int(number), int(count))
    except ValueError as fault:
        raise argparse.ArgumentTypeError(PART_USAGE) from fault


def _evaluate(arguments: argparse.Namespace, load: Load) -> int:
    settings = with_models(settings_of(arguments), arguments.policy, arguments.segmenter)
    process = load("training.evaluate")
    progress = Progress("evaluate")
    results = process.run(
        settings,
        process.EvaluationRequest(
            arguments.data,
            arguments.split,
            arguments.out,
            arguments.baselines,
            arguments.against,
            arguments.resume,
            arguments.shards,
        ),
        say,
        progress.show,
    )
    progress.end()
    if results is None:
        return 0
    table(HEADER, [_row(name, method["all"]) for name, method in results["methods"].items()])
    for skipped in results["skipped"][:10]:
        say(f"left out: {skipped['file']}: {skipped['reason']}")
    for failure in results["failures"][:10]:
        say(
            f"failed: {failure['method']}, {failure['case']}, {failure['target']}: "
            f"{failure['reason']}"
        )
    for what, count in (("left out", "skipped"), ("failures", "failures")):
        more = len(results[count]) - 10
        say(f"{more} more {what}: see the report") if more > 0 else None
    say(f"the report is {arguments.out / 'report.html'}")
    return 0


def _row(name: str, figures: dict[str, Any]) -> tuple[str, ...]:
    def mean(key: str, digits: int) -> str:
        return "" if figures[key] is None else f"{figures[key]['mean']:.{digits}f}"

    return (
        name,
        str(figures["targets"]),
        str(figures["failed"]),
        mean("dice", 3),
        mean("nsd", 3),
        mean("absent_answered", 3),
        mean("turns", 2),
        mean("seconds", 2),
    )
