"""How far a surface may lie from the truth's, by structure: the figures of tolerances.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from agent.values import Target

FILE = Path(__file__).parent / "tolerances.toml"


@dataclass(frozen=True)
class Tolerance:
    """A distance in mm within which a surface is right, and the table it stands in."""

    mm: float
    source: str


def tolerance_of(target: Target) -> Tolerance:
    """The tolerance of a target's structure; the default where no table names it."""
    by_structure, default = _tables()
    return by_structure.get(target.structure or "", default)


@cache
def _tables() -> tuple[dict[str, Tolerance], Tolerance]:
    content = tomllib.loads(FILE.read_text("utf-8"))
    default = Tolerance(float(content.pop("default_mm")), "default")
    return {
        structure: Tolerance(float(mm), source)
        for source, table in content.items()
        for structure, mm in table.items()
    }, default
