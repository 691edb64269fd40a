"""Models by their names, each loaded once for each choice; traces; what all functions raise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from agent.errors import AgentError
from agent.ports import Policy, Segmenter
from agent.trace import Trace, read_trace
from dicom_node.errors import DicomNodeError
from models.errors import ModelsError
from server.commands.segment import with_models
from server.compose.choice import configured_models, limits
from server.errors import ServerError
from server.local import LocalModels
from server.rules.catalogue import load_catalogue
from server.settings import load_settings

SegnodeErrors = (ServerError, DicomNodeError, AgentError, ModelsError)
"""For `except segnode.SegnodeErrors as error`; `str(error)` is a sentence that says what to do."""

_LOADED_AT_ONCE = 2
"""Choices of models that stay loaded; the one that was used longest ago makes room."""


def open_segmenter(name: str | None = None, *, config: Sequence[str | Path] = ()) -> Segmenter:
    """The segmenter of that name, loaded at the first call and kept.

    `name` as agent.segmenter in configuration, "auto" the best that is here, None as configured;
    `config` as in `segnode.segment`. Raises SegnodeErrors, such as UnknownModel and WeightsMissing.

    `encode` takes a slice float32 in 0..1, grey (rows, columns) or RGB (rows, columns, 3);
    `segment` the encoding and prompts in the slice's own pixels, zero-based (x, y).
    """
    return loaded_models(None, name, config).workbench().segmenter


def open_policy(
    name: str | None = None, *, segmenter: str | None = None, config: Sequence[str | Path] = ()
) -> Policy:
    """The policy of that name, loaded at the first call and kept.

    A policy may plan for one segmenter alone, so that one is loaded with it. Arguments and errors
    as in `open_segmenter`.
    """
    return loaded_models(name, segmenter, config).workbench().policy


def load_trace(path: str | Path) -> Trace:
    """The trace in a file `trace.json`, of any version; BadTrace where it is none,
    OSError where it cannot be read.
    """
    return read_trace(Path(path))


def loaded_models(
    policy: str | None, segmenter: str | None, config: Sequence[str | Path]
) -> LocalModels:
    """Who does the work, by names; models are loaded at the first use of `workbench`."""
    # the environment is a layer of configuration: another one is another choice
    environment = tuple(sorted(i for i in os.environ.items() if i[0].startswith("SEGNODE_")))
    return _loaded(policy, segmenter, tuple(Path(file) for file in config), environment)


@lru_cache(maxsize=_LOADED_AT_ONCE)
def _loaded(
    policy: str | None,
    segmenter: str | None,
    config: tuple[Path, ...],
    environment: tuple[tuple[str, str], ...],
) -> LocalModels:
    configured = load_settings(config, dict(environment))
    settings = with_models(configured, policy, segmenter)
    return LocalModels(configured_models(settings), load_catalogue(), limits(settings))
