"""The versions of a trained policy that a site has used under one name.

    <models.dir>/NAME                     a symbolic link to the version in use
    <models.dir>/NAME.versions/DIGEST/    a version, named by the SHA-256 of what it holds
    <models.dir>/NAME.versions/history.jsonl   one line a change, the newest last

`[language] model = "NAME"` therefore always names the version in use. A change is one rename of a
link: a worker that starts meanwhile finds the old version or the new one, never half of one. No
version is deleted here, so what a result was made with can be looked at again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import CannotPromote
from models.runtime.cache import write_atomically
from models.weights.hashes import digest_of, sums_of, write_record

VERSIONS_SUFFIX = ".versions"
HISTORY = "history.jsonl"
PROMOTED, ROLLED_BACK = "promoted", "rolled back"
_DIGEST_CHARS = 16  # enough to tell the versions of one site apart, short enough to read out
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Change:
    """One line of the history: `kind` PROMOTED or ROLLED_BACK, the `version` that was in use from
    `at` (ISO 8601) on, and the `evidence` for it.
    """

    kind: str
    version: str
    at: str
    evidence: Mapping[str, Any]


def version_of(sha256: str) -> str:
    """The name of the version whose weights have this SHA-256, hexadecimal."""
    return sha256[:_DIGEST_CHARS]


class PolicyVersions:
    """The versions of the policy `name` in the folder of weights `weights_dir`.

    CannotPromote for a name that is no plain file name.
    """

    def __init__(self, weights_dir: Path, name: str) -> None:
        if not _NAME.fullmatch(name) or name.endswith(VERSIONS_SUFFIX):
            raise CannotPromote(
                name, "a policy's name is letters, digits, '.', '_' and '-', at most 100 of them"
            )
        self.name = name
        self.path = weights_dir / name
        self._versions_dir = weights_dir / f"{name}{VERSIONS_SUFFIX}"

    @property
    def current(self) -> str | None:
        """The version in use; None before the first."""
        return self.path.readlink().name if self.path.is_symlink() else None

    @property
    def history(self) -> tuple[Change, ...]:
        """All changes, the oldest first. CannotPromote for a file that is no such history."""
        file = self._versions_dir / HISTORY
        if not file.is_file():
            return ()
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
            return tuple(Change(**json.loads(line)) for line in lines)
        except (ValueError, TypeError) as error:
            raise CannotPromote(self.name, f"{file} cannot be read ({error})") from error

    def promote(self, folder: Path, at: str, evidence: Mapping[str, Any]) -> str:
        """Copy the model in `folder` as a version, put it in use, and return its name.

        The version that is in use already is promoted again to no effect but a line of history.
        CannotPromote where `folder` holds no model or another thing has the name.
        """
        if not (folder / "config.json").is_file():
            raise CannotPromote(str(folder), "it holds no config.json, so it is no trained model")
        self._refuse_foreign()
        sums = sums_of(folder)
        version = version_of(digest_of(sums))
        target = self._versions_dir / version
        if not target.is_dir():
            self._copy(folder, target, sums)
        self._switch(Change(PROMOTED, version, at, dict(evidence)))
        return version

    def rollback(self, at: str, evidence: Mapping[str, Any]) -> str:
        """Put the version in use that was so before the present one, and return its name.

        A second rollback goes one further back. CannotPromote where there is none, or its files
        are gone or changed.
        """
        earlier = self._used_before()
        if not earlier:
            raise CannotPromote(self.name, "no earlier version was in use")
        version = earlier[-1]
        folder = self._versions_dir / version
        if not folder.is_dir():
            raise CannotPromote(self.name, f"the files of version {version} are gone from {folder}")
        if version_of(digest_of(sums_of(folder))) != version:
            raise CannotPromote(self.name, f"the files in {folder} are not those of that version")
        self._switch(Change(ROLLED_BACK, version, at, dict(evidence)))
        return version

    def _used_before(self) -> list[str]:
        """The versions below the present one, as a stack: a rollback takes the newest off it."""
        stack: list[str] = []
        for change in self.history:
            if change.kind == ROLLED_BACK:
                stack.pop()
            elif not stack or stack[-1] != change.version:
                stack.append(change.version)
        return stack[:-1]

    def _refuse_foreign(self) -> None:
        if self.path.exists() and not self.path.is_symlink():
            raise CannotPromote(
                self.name,
                f"{self.path} is there and is no promoted policy; choose another name",
            )

    def _copy(self, folder: Path, target: Path, sums: Mapping[str, str]) -> None:
        """Copy `folder` to `target`, whole or not at all, and hold the copy against `sums`."""
        self._versions_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._versions_dir, prefix=".part-") as temporary:
            copy = Path(temporary) / "model"
            for name in sums:
                file = copy / name
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, file)
                _sync(file)
            if sums_of(copy) != dict(sums):
                raise CannotPromote(
                    str(folder), "its files changed while they were copied; try again"
                )
            write_record(copy, sums)
            copy.rename(target)
        _sync(self._versions_dir)

    def _switch(self, change: Change) -> None:
        """Put a version in use. The history is written first: a crash between the two leaves a
        line more, and the next promotion or rollback brings the link to it.
        """
        lines = [*self.history, change]
        text = "".join(json.dumps(vars(line), ensure_ascii=False) + "\n" for line in lines)
        write_atomically(self._versions_dir / HISTORY, text.encode("utf-8"))
        link = self.path.with_name(f".{self.name}.{os.getpid()}.link")
        link.unlink(missing_ok=True)
        link.symlink_to(Path(self._versions_dir.name) / change.version, target_is_directory=True)
        link.replace(self.path)
        _sync(self.path.parent)


def _sync(path: Path) -> None:
    """Make a file, or a folder's names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
