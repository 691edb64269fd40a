"""What completes `segnode` in a shell: commands, options, files, names of planners and networks."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import shtab

from models.shipped import POLICIES, SEGMENTERS
from server.command_help import commands_of

_FOLDERS = ("DIR", "OUT")  # what an option calls a folder


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script that completes what `parser`, a whole one, parses in a `shell`: bash, zsh or tcsh.

    The parser is of no other use afterwards: it knows fewer words than it takes.
    """
    names = {"policy": sorted(POLICIES), "segmenter": sorted(SEGMENTERS)}
    for action in _arguments(parser):
        if action.type is Path:
            is_folder = str(action.metavar) in _FOLDERS
            action.complete = shtab.DIRECTORY if is_folder else shtab.FILE  # type: ignore[attr-defined]  # shtab's own
        elif action.choices is None and action.dest in names:
            action.choices = names[action.dest]
    return str(shtab.complete(parser, shell))


def _arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for _, command in commands_of(parser):
        yield from command._actions  # noqa: SLF001  argparse has no public way to its arguments
