"""What trains is an extra: a missing package is told in a sentence."""

from __future__ import annotations

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
