"""Files that are whole or absent.

A file is written beside its place, flushed to disk, checked, and only then given its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path, check: Callable[[Path], None]) -> Iterator[Path]:
    """Gives a temporary path in the same folder.

    The file is renamed to `path` on leaving, once it is on disk and has passed `check`.

    `check` reads the bytes that will bear the name and raises if they are not what was meant.
    Whatever goes wrong, the temporary file is removed and a file that was at `path` before stays as
    it was. Makes the folder if needed. OSError when the disk is full or not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        check(temporary)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
