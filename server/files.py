"""Private folders, and files that a crash cannot leave half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from dicom_node.durable import whole_file

PRIVATE_FOLDER = 0o700


def private_folder(path: Path) -> Path:
    """Make `path` (and missing parents) a folder only its owner can open, and return it.

    One that is there already is left as it is: whoever made it has given it its mode, and it may
    not be ours.
    """
    path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    return path


def write_file(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Let `fill` write a file that appears under `path` whole or not at all.

    OSError as the disk gives it.
    """
    with whole_file(path, check=lambda _: None) as temporary, temporary.open("wb") as stream:
        fill(stream)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as UTF-8 JSON, whole or not at all."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    write_file(path, lambda stream: stream.write(text.encode("utf-8")))


def kept_path(path: Path, storage: Path) -> str:
    """`path` for the record: relative to `storage` if it lies there, so that it can be moved.

    >>> kept_path(Path("/var/lib/segnode/work/a/seg.dcm"), Path("/var/lib/segnode"))
    'work/a/seg.dcm'
    """
    whole, root = path.absolute(), storage.absolute()
    return str(whole.relative_to(root)) if whole.is_relative_to(root) else str(whole)
