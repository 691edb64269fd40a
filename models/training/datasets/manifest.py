"""`manifest.json` of a data set: where it is from, every file's hash, who is in which split, and
how much of what there is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from models.errors import UnreadableFile, UnusableData
from models.runtime.cache import write_atomically
from models.weights.hashes import file_sha256

MANIFEST = "manifest.json"
KIND, VERSION = "segnode-dataset", 1

Counts = Mapping[str, Mapping[str, int]]
"""Split -> name -> how many."""


@dataclass(frozen=True)
class Manifest:
    """What is known of a data set as a whole.

    `files` are SHA-256 (hexadecimal) by name relative to the data set, empty before a manifest was
    written; `splits` the split of every patient; `seed` that of splits that we made, None where
    they are the data set's own. `structures` counts the truths with a voxel by split and
    structure, `absent` those without; `modalities` the cases by split and modality, `patients` and
    `cases` by split.
    """

    dataset: str
    layout: str
    source: str = ""
    licence: str = ""
    patients_known: bool = True
    seed: int | None = None
    splits: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    cases: Mapping[str, int] = field(default_factory=dict)
    patients: Mapping[str, int] = field(default_factory=dict)
    structures: Counts = field(default_factory=dict)
    absent: Counts = field(default_factory=dict)
    modalities: Counts = field(default_factory=dict)

    def verify(self, root: Path, files: tuple[str, ...]) -> None:
        """UnreadableFile for one of `files` below `root` that is not the one that was counted;
        without hashes there is nothing to compare.
        """
        for name in files if self.files else ():
            expected = self.files.get(name)
            if expected is None:
                reason = f"{MANIFEST} does not know it; write the manifest anew to take it in."
                raise UnreadableFile(root / name, reason)
            if sha256_of(root / name) != expected:
                reason = f"it is not the file that {MANIFEST} was written for; it was changed."
                raise UnreadableFile(root / name, reason)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest that lies in `folder`; None where there is none, or only another program's.

    UnusableData for one of ours that cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        content: Any = json.loads(path.read_bytes())
        if not isinstance(content, dict) or content.pop("kind", None) != KIND:
            return None
        version = content.pop("version")
        if version != VERSION:
            raise UnusableData(path, f"it is of version {version}, this Segnode reads {VERSION}")
        return Manifest(**content)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as fault:
        raise UnusableData(path, f"it is damaged ({fault}); remove it or write it anew") from fault


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Write `manifest` into `folder`, whole or not at all, and give its path."""
    path = folder / MANIFEST
    content = {"kind": KIND, "version": VERSION, **asdict(manifest)}
    text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=False)
    write_atomically(path, f"{text}\n".encode())
    return path


def sha256_of(path: Path) -> str:
    """A file's SHA-256, hexadecimal; UnreadableFile where it cannot be read."""
    try:
        return file_sha256(path)
    except OSError as fault:
        raise UnreadableFile(path, f"{fault.strerror or fault}.") from fault
