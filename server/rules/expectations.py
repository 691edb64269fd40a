"""What is expected of a structure that was drawn, as data: config/plausibility.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.errors import ConfigurationError
from server.rules.catalogue import Catalogue
from server.settings import config_folder

_KEYS = frozenset({"ml", "hu", "side", "parts", "source"})


@dataclass(frozen=True)
class Span:
    """From `low` to `high`, both within it."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Expectation:
    """What a structure is expected to be like.

    `volume_ml` of an adult's whole structure, `mean_hu` on CT, `side` ("left", "right", or "" for
    neither) the half of the body that most of it lies in, `single` whether it is one part.
    """

    volume_ml: Span | None = None
    mean_hu: Span | None = None
    side: str = ""
    single: bool = True


def load_expectations(catalogue: Catalogue, path: Path | None = None) -> dict[str, Expectation]:
    """Expectations by the catalogue's keys, each side of a paired structure with its own.

    ConfigurationError names the entry at fault.
    """
    file = path or config_folder() / "plausibility.toml"
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file.name} cannot be read: {error}") from error
    expectations: dict[str, Expectation] = {}
    for key, entry in table.items():
        sides = catalogue.names.sides_of.get(key)
        keys = (key,) if sides is None else tuple(sides.values())
        for structure in keys:
            if structure not in catalogue.structures:
                raise ConfigurationError(f"{file.name}: '{key}' is no structure of the catalogue")
            side = entry.get("side") or catalogue.names.side_of[structure]
            expectations[structure] = _expectation(f"{file.name}: '{key}'", entry, side)
    return expectations


def _expectation(place: str, entry: Mapping[str, Any], side: str) -> Expectation:
    unknown = sorted(entry.keys() - _KEYS)
    if unknown:
        raise ConfigurationError(f"{place} has {unknown[0]}, which says nothing here")
    if side not in ("", "left", "right"):
        raise ConfigurationError(
            f"{place} lies on the side {side!r}, which is neither left nor right"
        )
    return Expectation(
        _span(place, entry.get("ml")),
        _span(place, entry.get("hu")),
        side,
        bool(entry.get("parts", True)),
    )


def _span(place: str, bounds: Any) -> Span | None:
    if bounds is None:
        return None
    if not isinstance(bounds, list) or len(bounds) != 2 or not bounds[0] < bounds[1]:
        raise ConfigurationError(f"{place} has the bounds {bounds}: write the lower one first")
    return Span(float(bounds[0]), float(bounds[1]))
