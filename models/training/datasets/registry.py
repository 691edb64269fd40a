"""The data sets that the papers and the field use: registry.toml as values."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from agent.values import Target

_FILE = Path(__file__).with_name("registry.toml")
_SIDES = ("left", "right")


@dataclass(frozen=True)
class KnownDataset:
    """An entry of the registry.

    `modalities` as in DICOM; `where` the address to ask at; `licence` as its authors state it, or
    that they state none; `layouts` the ways it is found on disk; `papers` who trained or tested
    with it; `also` are other names of its folder. `files` matches the stems of its files, with a
    group `patient` where they tell it; `structures` gives keys of the catalogue by label, "" where
    the catalogue has none; `only_label` names the structure of masks that hold one thing without a
    name.
    """

    key: str
    title: str
    modalities: tuple[str, ...]
    licence: str
    where: str
    layouts: tuple[str, ...]
    papers: tuple[str, ...] = ()
    note: str = ""
    also: tuple[str, ...] = ()
    files: re.Pattern[str] | None = None
    structures: Mapping[str, str] = field(default_factory=dict)
    only_label: str = ""

    def patient_of(self, stem: str) -> str | None:
        """The patient that a file's name tells; None where it tells none."""
        match = self.files.match(stem) if self.files is not None else None
        return match["patient"] if match and "patient" in match.groupdict() else None

    def target(self, label: str) -> Target:
        """What a label of this data set asks for, in words, with its key where we know one."""
        return Target(words_of(label), self.structures.get(label) or None)


@cache
def known_datasets() -> Mapping[str, KnownDataset]:
    """The registry by key, in the order of its file."""
    table = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {key: _known(key, entry) for key, entry in table.items()}


def find_dataset(name: str, stem: str) -> KnownDataset:
    """The data set that a folder's or index's `name` or one of its files' stems tells; an entry of
    that name without any knowledge where it is none of ours.
    """
    registered = known_datasets()
    folded = _folded(name)
    for entry in registered.values():
        if folded in map(_folded, (entry.key, entry.title, *entry.also)):
            return entry
    return dataset_of_file(stem) or KnownDataset(name, name, (), "", "", ())


def dataset_of_file(stem: str) -> KnownDataset | None:
    """The data set that names its files so; None where none does."""
    matching = (e for e in known_datasets().values() if e.files and e.files.match(stem))
    return next(matching, None)


def words_of(label: str) -> str:
    """A label as a person says it: the side first, no underscores.

    >>> words_of("kidney_right")
    'right kidney'
    """
    words = label.replace("_", " ").replace("+", " ").split()
    if len(words) > 1 and words[-1].lower() in _SIDES:
        words = [words[-1], *words[:-1]]
    return " ".join(words)


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _known(key: str, entry: Mapping[str, object]) -> KnownDataset:
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in entry.items()}
    if "files" in values:
        values["files"] = re.compile(str(values["files"]))
    return KnownDataset(key=key, **values)  # type: ignore[arg-type]  # a test holds the file to it
