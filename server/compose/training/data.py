"""`segnode data list` and `check`: what is known of data sets, and what a folder holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.errors import UnusableData
from models.training.datasets.counting import Inventory, take_inventory, with_hashes
from models.training.datasets.manifest import write_manifest
from models.training.datasets.registry import known_datasets
from server.compose.training.cases import open_cases

__all__ = ["check", "known_datasets"]


def check(
    path: Path,
    *,
    layout: str | None,
    seed: int | None,
    write: bool,
    on_case: Callable[[int, int], None],
) -> tuple[Inventory, Path | None]:
    """Read the whole data set at `path` and count it; with `write` its manifest.json is left there
    (its path is the second). With a `seed` patients are split anew. UnusableData, LeakedPatients,
    OSError where nothing can be written.
    """
    dataset = open_cases(path, layout=layout, seed=seed, compare=not write)
    inventory = take_inventory(dataset, on_case)
    if not write:
        return inventory, None
    if not inventory.cases:
        raise UnusableData(path, "none of its cases can be used, so no manifest was written")
    manifest = with_hashes(dataset, inventory.manifest)
    return inventory, write_manifest(dataset.root, manifest)
