"""`segnode models promote | rollback`: a trained policy put in use, and taken back."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from server.commands.console import say
from server.commands.options import Load, Run, settings_of

AddAction = Callable[[str, str, Run], argparse.ArgumentParser]


def add_promotion(add_action: AddAction) -> None:
    """What `models promote` and `rollback` take."""
    promote = add_action(
        "promote", "put a trained policy in use, if its evaluation is no worse", _promote
    )
    promote.add_argument(
        "model", metavar="DIR", type=Path, help="a trained model: the folder model/ of a run"
    )
    _add_name(promote)
    promote.add_argument(
        "--evaluation",
        metavar="DIR",
        type=Path,
        required=True,
        help="an evaluation of that model: --out of `segnode evaluate`",
    )
    promote.add_argument(
        "--against",
        metavar="DIR",
        type=Path,
        help="an evaluation of the version in use on the same data; needed where there is one",
    )
    promote.add_argument(
        "--margin",
        metavar="X",
        type=float,
        help="how much worse the score may be at worst, 0 to 1; 0.01 if not said",
    )
    rollback = add_action("rollback", "put the version before the present one in use", _rollback)
    _add_name(rollback)
    rollback.add_argument(
        "--reason", metavar="TEXT", default="", help="why, for the history of versions"
    )


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--as",
        metavar="NAME",
        dest="name",
        required=True,
        help="the policy's name, which language.model then says",
    )


def _promote(arguments: argparse.Namespace, load: Load) -> int:
    process = load("training.promotion")
    outcome = process.promote(
        settings_of(arguments),
        process.Promotion(
            arguments.model,
            arguments.name,
            arguments.evaluation,
            arguments.against,
            arguments.margin,
        ),
    )
    say(outcome.reason, error=not outcome.accepted)
    if not outcome.accepted:
        say(f"{arguments.name} stays as it is", error=True)
        return 1
    say(f'{arguments.name} is version {outcome.version}; language.model = "{arguments.name}"')
    say("workers take it up when they start again")
    return 0


def _rollback(arguments: argparse.Namespace, load: Load) -> int:
    process = load("training.promotion")
    version = process.rollback(settings_of(arguments), arguments.name, arguments.reason)
    say(f"{arguments.name} is version {version} again; workers take it up when they start again")
    return 0
