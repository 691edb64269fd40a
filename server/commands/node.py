"""`segnode serve`, its parts alone (`listen`, `work`, `api`), and `sessions` beside it."""

from __future__ import annotations

import argparse

from server.commands.options import Commands, add_command, settings_of
from server.commands.ports import Composition


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands that run until they are told to stop."""
    for name, run, said in (
        ("serve", _serve, "run listener, worker and API in one go; SIGTERM stops them cleanly"),
        ("listen", _listen, "run the DICOM listener alone"),
        ("work", _work, "run a worker alone"),
        ("api", _api, "run the HTTP API alone"),
        (
            "sessions",
            _sessions,
            "run the segmentation API for training and interactive clients: images, boxes and clicks in, masks out",
        ),
    ):
        add_command(commands, name, said, run).set_defaults(logs=True)


def _serve(arguments: argparse.Namespace, composition: Composition) -> int:
    return composition.serve(settings_of(arguments), arguments.config)


def _listen(arguments: argparse.Namespace, composition: Composition) -> int:
    composition.listen(settings_of(arguments))
    return 0


def _work(arguments: argparse.Namespace, composition: Composition) -> int:
    composition.work(settings_of(arguments))
    return 0


def _api(arguments: argparse.Namespace, composition: Composition) -> int:
    composition.api(settings_of(arguments))
    return 0


def _sessions(arguments: argparse.Namespace, composition: Composition) -> int:
    composition.sessions(settings_of(arguments))
    return 0
