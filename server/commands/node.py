"""`segnode serve`, its parts alone (`listen`, `work`, `api`), and `sessions` beside it."""

from __future__ import annotations

import argparse

from dicom_node.log_text import log_as
from server.commands.options import Load, add_config, settings_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What a command that runs until it is told to stop takes."""
    add_config(parser, _run)
    parser.set_defaults(logs=True)


def _run(arguments: argparse.Namespace, load: Load) -> int:
    settings = settings_of(arguments)
    log_as(settings.log.format, arguments.command)
    process = load(arguments.command)
    if arguments.command == "serve":
        return int(process.run(settings, arguments.config))
    return int(process.run(settings))
