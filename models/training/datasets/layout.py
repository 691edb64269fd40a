"""What a layout is: how a folder is recognised and listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.training.datasets.dataset import Listing


@dataclass(frozen=True)
class DataLayout:
    """A way in which data sets lie on disk: `looks` describes it for people, `fits` says whether a
    folder or file looks so, `listing` what is in it.
    """

    name: str
    looks: str
    fits: Callable[[Path], bool]
    listing: Callable[[Path], Listing]
