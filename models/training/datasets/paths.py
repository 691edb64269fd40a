"""Files of a data set's folder, and none outside it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.errors import UnreadableFile

_MOST_INDEX_BYTES = 1 << 30  # the largest published index, BiomedParse's, has some 500 MB


def inside(folder: Path, name: str) -> Path:
    """The file `name` of `folder`, relative and with forward slashes.

    UnreadableFile for one that is not there, or that lies outside the folder by its name or by a
    link.
    """
    path = folder / name
    try:
        place = path.resolve()
        if not place.is_relative_to(folder.resolve()):
            raise UnreadableFile(path, "it lies outside the data set's folder; copy it there.")
        if not place.is_file():
            raise UnreadableFile(path, "there is no such file.")
    except (OSError, ValueError, RuntimeError) as fault:  # a name with a zero byte, a link's circle
        raise UnreadableFile(path, f"its name cannot be followed ({fault}).") from fault
    return path


def files_below(
    folder: Path, endings: tuple[str, ...], *, depth: int | None = None
) -> Iterator[str]:
    """The files of `folder` with one of `endings` (lower case), relative and sorted, links to
    folders not followed; `depth` 1 is the folder alone.
    """
    for place, folders, names in os.walk(folder):
        relative = Path(place).relative_to(folder)
        folders.sort()
        if depth is not None and len(relative.parts) + 1 >= depth:
            folders.clear()
        for name in sorted(names):
            if name.lower().endswith(endings) and not name.startswith("."):
                yield (relative / name).as_posix()


def read_index(folder: Path, name: str) -> Any:
    """What the JSON file `name` of `folder` holds; UnreadableFile where it is no JSON or absurdly
    large.
    """
    path = inside(folder, name)
    if path.stat().st_size > _MOST_INDEX_BYTES:
        raise UnreadableFile(path, "an index of more than 1 GiB is not read; split the data set.")
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as fault:
        raise UnreadableFile(path, f"it is no JSON ({fault}).") from fault


def stem_of(name: str) -> str:
    """The last part of a relative name without its ending: "a/liver_1.nii.gz" is "liver_1"."""
    last = name.rsplit("/", 1)[-1]
    return last.removesuffix(".gz").rsplit(".", 1)[0]
