"""Hashes of weights on disk, and the records of them that lie beside the files: lists that
`sha256sum -c` reads too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

PART_SUFFIX = ".part"
FOLDER_RECORD = "SHA256SUMS"
FILE_RECORD_SUFFIX = ".sha256"
_CHUNK_BYTES = 1 << 20
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal; read once a process unless the file changes."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _sha256(path: Path, _size_bytes: int, _modified_ns: int) -> str:
    # size and time are the key under which an answer still holds: a checkpoint is gigabytes
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def parts_of(path: Path) -> dict[str, Path]:
    """What weights consist of, name → file: a file of itself, a folder of all in it that a download
    leaves there.
    """
    if not path.is_dir():
        return {path.name: path}
    files = (file for file in sorted(path.rglob("*")) if file.is_file())
    names = {file.relative_to(path).as_posix(): file for file in files}
    return {
        name: file
        for name, file in names.items()
        if not name.startswith(".") and "/." not in name
        if name != FOLDER_RECORD and file.suffix not in (PART_SUFFIX, FILE_RECORD_SUFFIX)
    }


def sums_of(path: Path) -> dict[str, str]:
    """The SHA-256 of each part of the weights at `path` (a file or a folder), name →
    hexadecimal.
    """
    return {name: file_sha256(file) for name, file in parts_of(path).items()}


def digest_of(sums: Mapping[str, str]) -> str:
    """One SHA-256 for all: a single part's own, else that of the list as it is recorded."""
    if len(sums) == 1:
        return next(iter(sums.values()))
    # sorted by name, so the order in which a folder is listed does not matter
    return hashlib.sha256(_lines(sums).encode()).hexdigest()


def size_of(path: Path) -> int:
    """How many bytes the weights at `path` (a file or a folder) have."""
    return sum(file.stat().st_size for file in parts_of(path).values())


def record_path(path: Path) -> Path:
    """Where the hashes of the weights at `path` are recorded: beside a file, within a folder."""
    if path.is_dir():
        return path / FOLDER_RECORD
    return path.with_name(path.name + FILE_RECORD_SUFFIX)


def read_record(path: Path) -> dict[str, str]:
    """What is recorded of the weights at `path`, name → hexadecimal; {} where nothing is."""
    try:
        lines = record_path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    matches = (_LINE.fullmatch(line) for line in lines)
    return {match[2]: match[1] for match in matches if match}


def write_record(path: Path, sums: Mapping[str, str]) -> None:
    """Record the hashes of the weights at `path`: from now on they are held against it."""
    record_path(path).write_text(_lines(sums), encoding="utf-8")


def _lines(sums: Mapping[str, str]) -> str:
    return "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(sums.items()))
