"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from server.commands.ports import Run
from server.settings import Settings, load_settings

Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse gives this type no public name


def add_command(
    commands: Commands[argparse.ArgumentParser], name: str, said: str, run: Run
) -> argparse.ArgumentParser:
    """A command with its sentence, `--config` and what it runs."""
    parser = commands.add_parser(name, help=said, description=said)
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a TOML file that changes the defaults; may be given several times, the later wins",
    )
    parser.set_defaults(run=run)
    return parser


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
