"""`segnode models`: which weights are known, here, whole."""

from __future__ import annotations

import argparse

from models.errors import ModelsError
from models.manifest import MANIFEST
from server.commands.options import Commands, add_command
from server.commands.ports import Composition
from server.console import say, table


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add `models list` and `models verify`."""
    parser = commands.add_parser(
        "models",
        help="the weights: what is known, here, whole",
        description="The weights of the models.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    add_command(actions, "list", "which weights are known, and whether they are here", _list)
    add_command(actions, "verify", "read every file of weights and compare its hash", _verify)


def _list(_: argparse.Namespace, __: Composition) -> int:
    rows = [
        (
            each.name,
            each.used_by,
            "here" if each.locate().is_file() else "missing",
            each.licence,
            each.source,
        )
        for each in MANIFEST
    ]
    table(("weights", "used by", "state", "licence", "source"), rows)
    return 0


def _verify(_: argparse.Namespace, __: Composition) -> int:
    faults = 0
    for each in MANIFEST:
        try:
            path = each.verified_path()
        except ModelsError as error:
            say(str(error), error=True)
            faults += 1
        else:
            say(f"{each.name}: whole, SHA-256 {each.sha256}, {path}")
    return 1 if faults else 0
