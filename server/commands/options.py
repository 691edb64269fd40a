"""Options that several commands share, and what a command is given."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.settings import Settings, load_settings

Load = Callable[[str], Any]
"""Gives the module that composes a kind of process, by its name: server.compose.load."""

Run = Callable[[argparse.Namespace, Load], int]
"""A command: what was parsed and how to load what it composes in, the exit code out."""


def add_config(parser: argparse.ArgumentParser, run: Run) -> None:
    """`--config`, and what the command runs."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a TOML file that changes the defaults; may be given several times, the later wins",
    )
    parser.set_defaults(run=run)


def add_targets(parser: argparse.ArgumentParser) -> None:
    """`--target`, once or several times."""
    parser.add_argument(
        "--target",
        metavar="TEXT",
        action="append",
        required=True,
        dest="targets",
        help="what to segment, such as 'liver'; may be given several times",
    )


def add_models(parser: argparse.ArgumentParser) -> None:
    """`--policy` and `--segmenter`."""
    parser.add_argument("--policy", metavar="NAME", help="who plans, instead of agent.policy")
    parser.add_argument(
        "--segmenter", metavar="NAME", help="what draws, instead of agent.segmenter"
    )


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings with the files that `--config` names; ConfigurationError."""
    return load_settings(arguments.config)
