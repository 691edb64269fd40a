"""Tolerances by structure, as their tables print them."""

from __future__ import annotations

import pytest

from agent.values import Target
from models.evaluation.tolerances import Tolerance, tolerance_of
from server.rules.catalogue import load_catalogue


@pytest.mark.parametrize(
    ("structure", "mm", "source"),
    [
        ("liver", 5.0, "flare_2022"),
        ("duodenum", 7.0, "flare_2022"),
        ("left_kidney", 3.0, "flare_2022"),
        ("inferior_vena_cava", 2.0, "flare_2022"),
        ("left_atrium", 2.0, "default"),
        (None, 2.0, "default"),
    ],
)
def test_a_structure_has_its_tolerance(structure: str | None, mm: float, source: str) -> None:
    assert tolerance_of(Target("x", structure)) == Tolerance(mm, source)


def test_every_structure_of_the_tables_is_one_of_the_catalogue() -> None:
    from models.evaluation.tolerances import _tables

    catalogue = load_catalogue()
    for structure in _tables()[0]:
        (target,) = catalogue.targets(structure.replace("_", " "))
        assert target.structure == structure
