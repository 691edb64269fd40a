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
    """Yield a temporary path in the same folder, made if needed.

    On leaving, the file there is renamed to `path` once it is on disk and `check`, which reads it,
    has not raised. If anything fails, the temporary file is removed and a file that was at `path`
    stays as it was. OSError when the disk is full or not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        check(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
