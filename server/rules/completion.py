"""Completion of structures' names as they are typed, in every language of the catalogue."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from server.errors import ConfigurationError
from server.rules.catalogue import Catalogue
from server.rules.synonyms import words_of
from server.settings import config_folder

_NAME_KEYS = ("names", "left_names", "right_names")


@dataclass(frozen=True)
class NamedStructure:
    """A name as it may be typed, and the labels of the structures that it stands for."""

    name: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class StructureNames:
    """Every name that `catalogue` spells out, each with its bare words to be compared by."""

    catalogue: Catalogue
    entries: tuple[tuple[str, NamedStructure], ...]

    def beginning(self, text: str, most: int) -> tuple[NamedStructure, ...]:
        """At most `most` names in which a word begins with `text`; first those that begin so.

        Case and accents count for nothing; () for a text without a letter.
        """
        sought = " ".join(words_of(text))
        if not sought:
            return ()
        at_start = [entry for bare, entry in self.entries if bare.startswith(sought)]
        within = [entry for bare, entry in self.entries if f" {sought}" in bare]
        return tuple(dict.fromkeys((*at_start, *within)))[:most]

    def labels_of(self, text: str) -> tuple[str, ...]:
        """The structures that a whole text stands for; () for one that is not in the catalogue."""
        targets = self.catalogue.targets(text.strip())
        if any(target.structure is None for target in targets):
            return ()
        return tuple(self.catalogue.structure(target).label for target in targets)

    @property
    def labels(self) -> tuple[str, ...]:
        """The structures themselves, in English, in alphabetical order."""
        return tuple(sorted({label for _, entry in self.entries for label in entry.labels}))


def load_structure_names(catalogue: Catalogue, folder: Path | None = None) -> StructureNames:
    """The names of `catalogue`, which was read from the same `folder`; ConfigurationError."""
    unnamed = StructureNames(catalogue, ())
    names = dict.fromkeys(
        (
            *(structure.label for structure in catalogue.structures.values()),
            *_written_names(folder or config_folder() / "structures"),
        )
    )
    # words that are no name of a structure by themselves, such as a bare finding, are left out
    entries = [
        (" ".join(words_of(name)), NamedStructure(name, labels))
        for name in names
        if (labels := unnamed.labels_of(name))
    ]
    return StructureNames(
        catalogue, tuple(sorted(entries, key=lambda pair: (len(pair[0]), pair[0])))
    )


def _written_names(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.toml")):
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"the catalogue's {path.name} cannot be read: {error}"
            ) from error
        for entry in table.values():
            if isinstance(entry, dict):
                yield from _texts(entry.get(key, ()) for key in _NAME_KEYS)


def _texts(lists: Iterable[object]) -> Iterator[str]:
    for names in lists:
        if isinstance(names, list):
            yield from (name for name in names if isinstance(name, str))
