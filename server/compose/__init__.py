"""The composition root: the only package that knows the concrete classes.

One module a kind of process (`serve`, `listen`, `work`, `api`, `sessions`, `segment`, `weights`,
`dump`, `check`), each with its imports at its top. A command loads the module of its own process by
name, so that `segnode listen` never loads torch, and `segnode serve` neither torch nor the DICOM
edge. What several processes are composed of stands beside them: `database`, `record`, `rules`,
`choice`, `destinations`, `networks` (which loads torch), `heartbeat`, `addresses`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load(process: str) -> Any:
    """The module of this package that composes `process`; the first call imports what it needs."""
    return import_module(f"{__name__}.{process}")
