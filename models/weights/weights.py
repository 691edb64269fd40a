"""Weights: what each file is, where it comes from, under which licence, and the hash that it is
held against.

A hash is known in two ways: it was published, and stands in models.weights.manifest, or it was
recorded beside the file when that was fetched or first verified (models.weights.hashes). Whatever
is loaded is hashed; what differs is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from models.errors import WeightsChanged, WeightsMissing
from models.weights.hashes import digest_of, read_record, size_of, sums_of, write_record

NO_FOLDER = Path("weights")  # where weights are said to be missing from when none is configured


class State(StrEnum):
    """What a look at the disk says of weights, without reading them."""

    HERE = "here"
    MISSING = "missing"
    CHANGED = "changed"


@dataclass(frozen=True)
class Weights:
    """One file of weights, or a `folder` of them (a language model as its hub repository has it).

    `file` is its path in the folder of weights, under the name it was published by; `place` finds
    those that lie elsewhere: in a package, or where the site says; `remedy` is then what to do
    where they are not. `repo` on the hub, or the `url` of another host, is where it is fetched from
    (neither: the site brings the file); `only` these files of a folder (empty: all). `sha256`
    hexadecimal, "" where none was published; `size_bytes` 0 where it is not known.
    """

    name: str
    used_by: str
    licence: str
    source: str
    sha256: str = ""
    size_bytes: int = 0
    file: str = ""
    repo: str = ""
    url: str = ""
    folder: bool = False
    only: tuple[str, ...] = ()
    place: Callable[[], Path] | None = None
    remedy: str = "Install the package that carries them again"

    def locate(self, weights_dir: Path | None = None) -> Path:
        """Where it lies or would lie; nothing is loaded, not even looked for."""
        if self.place is not None:
            return self.place()
        return (weights_dir or NO_FOLDER) / self.file

    def state(self, weights_dir: Path | None = None) -> State:
        """Here, missing, or plainly changed (another size, or a recorded part that is gone)."""
        path = self.locate(weights_dir)
        if not self._is_at(path):
            return State.MISSING
        if self.size_bytes and size_of(path) != self.size_bytes:
            return State.CHANGED
        if self.folder and any(not (path / name).is_file() for name in read_record(path)):
            return State.CHANGED
        return State.HERE

    def verify(self, weights_dir: Path | None = None) -> str:
        """The SHA-256 of what lies there, after it was held against what is published and recorded.

        WeightsMissing, WeightsChanged.
        """
        path = self.locate(weights_dir)
        if not self._is_at(path):
            raise WeightsMissing(self.name, path, self._remedy())
        return _held_against_record(path, self.name, self.sha256)

    def verified_path(self, weights_dir: Path | None = None) -> Path:
        """Where it lies, after `verify`."""
        self.verify(weights_dir)
        return self.locate(weights_dir)

    def record(self, weights_dir: Path | None = None) -> str:
        """`verify`, and record the hashes beside what lies in the folder of weights; the
        SHA-256.
        """
        sha256 = self.verify(weights_dir)
        if self.place is None:
            path = self.locate(weights_dir)
            write_record(path, sums_of(path))
        return sha256

    def _is_at(self, path: Path) -> bool:
        if not self.folder:
            return path.is_file()
        return any(path.glob("*")) and all((path / name).is_file() for name in self.only)

    def _remedy(self) -> str:
        if self.place is not None:
            return self.remedy
        by_hand = f"put the {'folder' if self.folder else 'file'} there by hand"
        if self.repo or self.url:
            return f"Run `segnode models fetch {self.name}`, or {by_hand}"
        return f"Nobody publishes them for download: {by_hand}"


def _held_against_record(path: Path, name: str, published: str = "") -> str:
    """The SHA-256 of the weights at `path`, after it was held against the `published` one and the
    recorded ones.

    Recorded hashes of parts that are gone or changed, or parts that nobody recorded, raise
    WeightsChanged too.
    """
    sums = sums_of(path)
    sha256, recorded = digest_of(sums), read_record(path)
    for expected in (published, digest_of(recorded) if recorded else ""):
        if expected and sha256 != expected:
            raise WeightsChanged(name, path, expected=expected, found=sha256)
    return sha256
