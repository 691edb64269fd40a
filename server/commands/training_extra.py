"""What both ways to train share: their options, and an extra whose missing packages are told in a
sentence.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from server.commands.options import Load
from server.errors import ConfigurationError

EXTRA = frozenset(
    {
        "accelerate",
        "datasets",
        "matplotlib",
        "pandas",
        "peft",
        "pyarrow",
        "tensorboard",
        "trl",
    }
)
"""The packages of segnode[train] that training imports."""

CORRECTIONS = "corrections"
"""What --from says where a training goes on from what readers corrected."""


def add_source(parser: argparse.ArgumentParser, usual: str) -> None:
    """`--from`: what DATA holds, `usual` or corrections."""
    parser.add_argument(
        "--from",
        dest="source",
        choices=(usual, CORRECTIONS),
        default=usual,
        help=f"what DATA holds: {usual} (the default), or images with masks of ours that readers "
        "corrected (their SEG beside ours, or a corrections.json), of which nothing else is learnt",
    )


def add_base(parser: argparse.ArgumentParser) -> None:
    """`--base`: the model to begin with."""
    parser.add_argument(
        "--base",
        metavar="DIR",
        type=Path,
        help="the model to begin with, such as the model/ of an earlier run; language.model, the "
        "one that serves, if not said",
    )


def add_segmenter(parser: argparse.ArgumentParser) -> None:
    """`--segmenter`: what draws in the episodes."""
    parser.add_argument(
        "--segmenter", metavar="NAME", help="what draws, instead of agent.segmenter"
    )


def load_training(load: Load, process: str) -> Any:
    """The module that composes `process`; ConfigurationError where the extra is not installed."""
    try:
        return load(process)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        raise ConfigurationError(
            f"{package} is needed to train, and is not installed: pip install 'segnode[train]'"
        ) from error
