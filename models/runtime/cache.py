"""Where exported networks are kept, and how a file is written whole. Loads no torch."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def default_cache_dir() -> Path:
    """`segnode` in the user's cache folder (XDG base directory specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segnode"


def shared_cache_dir(otherwise: Path) -> Path:
    """The user's cache folder, so that one export serves every node and command of the user.

    `otherwise` where that cannot be written, as for a service without a home. Nothing is created.
    """
    try:
        folder = default_cache_dir()
        existing = next(path for path in (folder, *folder.parents) if path.exists())
    except (OSError, RuntimeError, StopIteration):  # RuntimeError: nobody knows the user's home
        return otherwise
    writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    return folder if writable else otherwise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is whole or not there, also when several processes write it at once."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:  # whatever happened, leave no half file behind
        Path(temporary).unlink(missing_ok=True)
        raise
