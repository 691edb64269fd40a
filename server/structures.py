"""The catalogue: what a person typed -> a coded structure. Reads config/structures.toml once."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.values import Target
from dicom_node.values import Code
from server.errors import ConfigurationError
from server.settings import config_folder

FREE_TEXT_SCHEME = "99SEGNODE"
FREE_TEXT_CIELAB = (75.0, 0.0, 0.0)


@dataclass(frozen=True)
class Structure:
    """One entry: `key` in snake case, `label` for viewers, its codes, `cielab` L* a* b*."""

    key: str
    label: str
    type: Code
    laterality: Code | None
    cielab: tuple[float, float, float]


@dataclass(frozen=True)
class Catalogue:
    """All structures by key, their names, and the names that stand for several."""

    category: Code
    structures: dict[str, Structure]
    keys_by_name: dict[str, tuple[str, ...]]

    def targets(self, text: str) -> tuple[Target, ...]:
        """The targets a user's words stand for: one, several ("kidneys"), or the words as free text."""
        keys = self.keys_by_name.get(fold(text))
        if keys is None:
            return (Target(text),)
        if len(keys) == 1:
            return (Target(text, keys[0]),)
        return tuple(Target(self.structures[key].label.lower(), key) for key in keys)

    def structure(self, target: Target) -> Structure:
        """How a target is labelled, coded and coloured; free text gets a private code of its own words."""
        if target.structure is not None:
            return self.structures[target.structure]
        words = target.text.strip()[:64]
        code = Code(fold(words)[:16].strip() or "unnamed", FREE_TEXT_SCHEME, words or "unnamed")
        return Structure("free_text", words, code, None, FREE_TEXT_CIELAB)


def fold(text: str) -> str:
    """A name as it is compared: lower case, NFC, `_` and `-` as spaces, single spaces."""
    return re.sub(r"[\s_\-]+", " ", unicodedata.normalize("NFC", text)).strip().casefold()


def load_catalogue(path: Path | None = None) -> Catalogue:
    """Read the catalogue; ConfigurationError names the entry at fault."""
    source = path or config_folder() / "structures.toml"
    table = tomllib.loads(source.read_text(encoding="utf-8"))
    sides = {side: Code(**code) for side, code in table["laterality"].items()}
    structures: dict[str, Structure] = {}
    names: dict[str, tuple[str, ...]] = {}
    for key, entry in table["structures"].items():
        if "all_of" not in entry:
            structures[key] = _structure(key, entry, sides)
        for name in {fold(name) for name in (*entry["names"], key)}:
            if name in names:
                raise ConfigurationError(
                    f"{source.name}: the name '{name}' stands for two structures"
                )
            names[name] = tuple(entry.get("all_of", (key,)))
    unknown = {key for keys in names.values() for key in keys} - structures.keys()
    if unknown:
        raise ConfigurationError(
            f"{source.name}: all_of names unknown structures {sorted(unknown)}"
        )
    return Catalogue(Code(**table["category"]), structures, names)


def _structure(key: str, entry: dict[str, Any], sides: dict[str, Code]) -> Structure:
    value, meaning = entry["type"]
    return Structure(
        key=key,
        label=entry["names"][0][0].upper() + entry["names"][0][1:],
        type=Code(value, "SCT", meaning),
        laterality=sides[entry["laterality"]] if "laterality" in entry else None,
        cielab=tuple(entry["cielab"]),
    )
