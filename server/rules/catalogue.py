"""The catalogue: what a person typed -> a coded structure.

Reads the folder config/structures once.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from agent.values import Target
from dicom_node.values import Code, Region
from server.errors import ConfigurationError
from server.rules.synonyms import Names, Words, fold, spellings, words_of
from server.settings import config_folder

PRIVATE_SCHEME = "99SEGNODE"
_CODING_FILE, _FINDINGS_FILE = "coding.toml", "findings.toml"
_SIDES = ("right", "left")  # the order in which a name for both gives them
_LONGEST_LABEL = 64  # characters of an LO, PS3.5 table 6.2-1

Cielab = tuple[float, float, float]
Of = TypeVar("Of")


@dataclass(frozen=True)
class Structure:
    """One entry: `key` in snake case, `label` for viewers, its codes, `cielab` L* a* b*.

    `laterality` modifies `type` where that says no side itself; `region` is where a finding lies.
    `source` says where a code is from that pydicom's dictionary of PS3.16 does not list.
    `tracking_id` tells structures of one result apart.
    """

    key: str
    label: str
    category: Code
    type: Code
    laterality: Code | None
    cielab: Cielab
    region: Region | None = None
    source: str = ""
    tracking_id: str = ""


@dataclass(frozen=True)
class Catalogue:
    """All structures by key, and the names that stand for them.

    `places` are what a finding can lie in, by key: the structures, and those that a name stands for
    both sides of. `findings` go with any of them: "liver_lesion" is in no table.
    """

    structures: dict[str, Structure]
    places: dict[str, Structure]
    findings: dict[str, Structure]
    names: Names
    free_text_category: Code

    def targets(self, text: str) -> tuple[Target, ...]:
        """The targets of a text: one, several ("kidneys"), or the text itself as free text."""
        keys = self.names.keys_of(text)
        if keys is None:
            return (Target(text),)
        if len(keys) == 1:
            return (Target(text, keys[0]),)
        return tuple(Target(self.structures[key].label.lower(), key) for key in keys)

    def structure(self, target: Target) -> Structure:
        """How a target is labelled, coded and coloured.

        Free text gets a private code of its own words.

        KeyError for a key that the catalogue does not hold.
        """
        key = target.structure
        if key is None:
            return self._free_text(target.text)
        return self.structures.get(key) or self._finding_at_place(key)

    def _finding_at_place(self, key: str) -> Structure:
        for name, finding in self.findings.items():
            place = self.places.get(key.removesuffix(f"_{name}")) if key.endswith(name) else None
            if place is not None:
                label = f"{place.label} {finding.label.lower()}"
                return replace(
                    finding,
                    key=key,
                    label=label,
                    region=Region(place.type, place.laterality),
                    cielab=_between(finding.cielab, place.cielab),
                    tracking_id=label,
                )
        raise KeyError(key)

    def _free_text(self, text: str) -> Structure:
        """The code is a digest, so that other words in any script have another one.

        The words are its meaning.
        """
        digest = hashlib.blake2b(fold(text).encode(), digest_size=8).digest()
        value = "T" + digest.hex()[:15].upper()
        words = " ".join(text.split())[:_LONGEST_LABEL]
        readable = sum(letter.isascii() and letter.isalnum() for letter in "".join(words_of(words)))
        label = words if readable * 2 > len("".join(words.split())) else f"Free text {value}"
        code = Code(value, PRIVATE_SCHEME, label)
        # lightness and hue by the digest: two structures in free text are told apart
        colour = (60.0 + digest[0] % 25, float(digest[1] % 81) - 40, float(digest[2] % 81) - 40)
        return Structure(
            "free_text", label, self.free_text_category, code, None, colour, tracking_id=value
        )


def load_catalogue(folder: Path | None = None) -> Catalogue:
    """Read the catalogue, the files of `folder`; ConfigurationError names the entry at fault."""
    return _CatalogueReader(folder or config_folder() / "structures").catalogue()


def _between(colour: Cielab, other: Cielab) -> Cielab:
    """A colour most like the first: the same finding in two places is drawn in two."""
    lightness, a, b = (round(0.7 * x + 0.3 * y, 1) for x, y in zip(colour, other, strict=True))
    return lightness, a, b


def _code(entry: list[str]) -> Code:
    value, meaning, *scheme = entry
    return Code(value, scheme[0] if scheme else "SCT", meaning)


class _CatalogueReader:
    """The files of one catalogue, entry by entry."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        coding = _toml(folder / _CODING_FILE)
        self._categories = {name: _code(code) for name, code in coding["categories"].items()}
        self._sides = {side: _code(coding["sides"][side]) for side in _SIDES}
        self._names = Names(Words.of(coding["words"]))
        self._structures: dict[str, Structure] = {}
        self._places: dict[str, Structure] = {}
        self._findings: dict[str, Structure] = {}
        self._keys_of: dict[str, tuple[str, ...]] = {}

    def catalogue(self) -> Catalogue:
        """Structures first, then the names that stand for several and the regions they lie in."""
        entries = list(self._entries())
        for file, key, entry in entries:
            if "all_of" not in entry:
                self._add(file, key, entry)
        for file, key, entry in entries:
            try:
                self._complete(key, entry)
            except KeyError as error:
                raise ConfigurationError(
                    f"{file}: '{key}' refers to {error}, which is no structure"
                ) from error
            self._name(file, key, entry)
        category = self._categories["anatomical_structure"]
        return Catalogue(self._structures, self._places, self._findings, self._names, category)

    def _entries(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Every entry with its file and key.

        A file's own category is its entries' unless they say another.
        """
        used_keys: set[str] = set()
        for path in sorted(self._folder.glob("*.toml")):
            if path.name == _CODING_FILE:
                continue
            table = _toml(path)
            category = table.pop("category", "anatomical_structure")
            for key, entry in table.items():
                if key in used_keys:
                    raise ConfigurationError(f"{path.name}: '{key}' is in the catalogue twice")
                used_keys.add(key)
                yield path.name, key, {"category": category, **entry}

    def _add(self, file: str, key: str, entry: dict[str, Any]) -> None:
        """The structure, or its two sides, which a finding can lie in as well as in both."""
        label = entry["names"][0][0].upper() + entry["names"][0][1:]
        base = self._structure(key, label, entry)
        if file == _FINDINGS_FILE:
            self._findings[key] = base
        else:
            self._places[key] = base
        if "cielab_left" not in entry:
            self._keep(base, entry.get("side", ""))
            self._keys_of[key] = (key,)
            return
        self._keys_of[key] = tuple(f"{side}_{key}" for side in _SIDES)
        self._names.sides_of[key] = {side: f"{side}_{key}" for side in _SIDES}
        for side, sided_key in zip(_SIDES, self._keys_of[key], strict=True):
            own = entry.get(f"{side}_type")
            sided_label = f"{side.capitalize()} {entry['names'][0]}"
            sided = replace(
                base,
                key=sided_key,
                label=sided_label,
                tracking_id=sided_label,
                type=_code(own) if own else base.type,
                laterality=None if own else self._sides[side],
                cielab=tuple(entry[f"cielab_{side}"]),
            )
            self._keep(sided, side)
            self._places[sided_key] = sided

    def _keep(self, structure: Structure, side: str) -> None:
        self._structures[structure.key] = structure
        self._names.side_of[structure.key] = side

    def _structure(self, key: str, label: str, entry: Mapping[str, Any]) -> Structure:
        return Structure(
            key=key,
            label=label,
            category=self._categories[entry["category"]],
            type=_code(entry["type"]),
            laterality=None,
            cielab=tuple(entry.get("cielab") or entry.get("cielab_left") or (70.0, 0.0, 0.0)),
            source=entry.get("source", ""),
            tracking_id=label,
        )

    def _complete(self, key: str, entry: Mapping[str, Any]) -> None:
        """What refers to other entries: the region of a part, the members of a group."""
        if "region" in entry:
            region = self._places[entry["region"]]
            self._structures[key] = replace(
                self._structures[key], region=Region(region.type, region.laterality)
            )
        if "all_of" in entry:
            members = [self._keys_of[member] for member in entry["all_of"]]
            self._keys_of[key] = tuple(
                member for side in range(2) for keys in members for member in keys[side : side + 1]
            )
            if "type" in entry:
                label = entry["names"][-1][0].upper() + entry["names"][-1][1:]
                self._places[key] = self._structure(key, label, entry)

    def _name(self, file: str, key: str, entry: Mapping[str, Any]) -> None:
        """Enter an entry's names; no name may stand for two things."""
        names, keys = self._names, self._keys_of[key]
        self._enter(file, names.keys, (*entry["names"], key), keys)
        self._enter(file, names.sided, entry.get("with_side", ()), keys)
        for side in _SIDES:
            sided = tuple(structure for structure in keys if names.side_of[structure] == side)
            if len(keys) == 2 and sided:
                self._enter(file, names.keys, (*entry.get(f"{side}_names", ()), *sided), sided)
        if file == _FINDINGS_FILE:
            self._enter(file, names.findings, entry["names"], key)
        elif key in self._places:
            self._enter(file, names.places, (*entry["names"], *entry.get("of", ())), key)

    def _enter(self, file: str, table: dict[str, Of], names: Iterable[str], of: Of) -> None:
        for name in names:
            for spelling in spellings(name):
                key = self._names.words.key(words_of(spelling))
                if table.setdefault(key, of) != of:
                    raise ConfigurationError(f"{file}: the name '{key}' stands for two structures")


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the catalogue's {path.name} cannot be read: {error}") from error
