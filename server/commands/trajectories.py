"""`segnode trajectories`: what a planner is taught from, made by a simulated reader."""

from __future__ import annotations

import argparse
from pathlib import Path

from agent.protocol.dialects import Dialect
from models.training.trajectory_choices import EXPORTS, TrajectoryChoices
from server.commands.console import Progress, say, table
from server.commands.options import Load, add_config, settings_of
from server.commands.segment import with_models
from server.errors import InputError

ALL = "all"
_DEFAULTS = TrajectoryChoices(Path(), Path())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `trajectories` takes."""
    add_config(parser, _trajectories)
    parser.add_argument("data", metavar="DATA", type=Path, help="cases, in any layout that we know")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where they go")
    parser.add_argument(
        "--segmenter", metavar="NAME", help="what draws, instead of agent.segmenter"
    )
    parser.add_argument(
        "--split",
        default=_DEFAULTS.split,
        help=f"whose cases: training (the default), validation, test, or {ALL}",
    )
    parser.add_argument(
        "--per-case", metavar="N", type=int, default=1, help="trajectories for each structure; 1"
    )
    parser.add_argument(
        "--shards",
        metavar="I/K",
        default="1/1",
        help="make part I of K (1/1); each part is a process of its own, here or elsewhere",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with what a run before this has left in DIR; cases that failed are tried again",
    )
    parser.add_argument(
        "--dialect",
        choices=[str(dialect) for dialect in Dialect],
        default=str(_DEFAULTS.dialect),
        help=f"how the model writes its actions; {_DEFAULTS.dialect}",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of all draws; 0")
    parser.add_argument(
        "--min-iou",
        metavar="X",
        type=float,
        default=_DEFAULTS.least_final_iou,
        help=f"drop what ends below this IoU with the truth ({_DEFAULTS.least_final_iou})",
    )
    parser.add_argument(
        "--encodings", metavar="DIR", type=Path, help="keep the slices' encodings for another run"
    )
    parser.add_argument(
        "--export",
        action="append",
        default=[],
        choices=EXPORTS,
        help="also write what another trainer reads; may be given twice",
    )
    parser.add_argument(
        "--publish", action="store_true", help="also write a data card with a gallery"
    )


def _trajectories(arguments: argparse.Namespace, load: Load) -> int:
    settings = with_models(settings_of(arguments), None, arguments.segmenter)
    choices = _choices(arguments)
    progress = Progress("cases")
    made = load("training.trajectories").run(settings, choices, progress.show)
    progress.end()
    figures = made.figures
    rows = [(kind, str(count)) for kind, count in figures.kinds.items()]
    table(("kind", "trajectories"), rows)
    for reason, count in figures.dropped.items():
        say(f"dropped {count}: {reason}")
    for skipped in made.skipped:
        say(f"left out: {skipped.file}: {skipped.reason}")
    for case, reason in figures.failed.items():
        say(f"failed: {case}: {reason}")
    say(
        f"{figures.kept} trajectories of {figures.patients} patients, "
        f"{100 * figures.share_kept:.0f} % of those made, {figures.mean_turns:.2f} turns each, "
        f"are in {choices.out}"
    )
    return 0 if figures.kept else 1


def _choices(arguments: argparse.Namespace) -> TrajectoryChoices:
    shard, slash, shards = arguments.shards.partition("/")
    if not (slash and shard.isdecimal() and shards.isdecimal()):
        raise InputError(f"--shards is I/K, such as 1/4, not '{arguments.shards}'")
    if not 1 <= int(shard) <= int(shards):
        raise InputError(f"--shards: there is no part {shard} of {shards}; the first is 1")
    try:
        return TrajectoryChoices(
            data=arguments.data,
            out=arguments.out,
            split=None if arguments.split == ALL else arguments.split,
            per_case=arguments.per_case,
            shard=int(shard) - 1,
            shards=int(shards),
            resume=arguments.resume,
            dialect=Dialect(arguments.dialect),
            seed=arguments.seed,
            least_final_iou=arguments.min_iou,
            encodings=arguments.encodings,
            exports=tuple(dict.fromkeys(arguments.export)),
            publish=arguments.publish,
        )
    except ValueError as fault:
        raise InputError(str(fault)) from fault
