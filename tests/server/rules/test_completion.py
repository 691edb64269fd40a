"""Completion: every name that the catalogue spells out leads to its structures."""

from __future__ import annotations

import pytest

from server.rules.catalogue import load_catalogue
from server.rules.completion import StructureNames, load_structure_names

MOST = 20


@pytest.fixture(scope="module")
def names() -> StructureNames:
    """Those of the shipped catalogue."""
    return load_structure_names(load_catalogue())


def test_every_name_stands_for_what_the_catalogue_says(names: StructureNames) -> None:
    for _, entry in names.entries:
        assert entry.labels == names.labels_of(entry.name)
        assert entry.labels
    assert len(names.entries) > 2000
    assert len(names.labels) >= len(names.catalogue.structures) - 5


@pytest.mark.parametrize("begin", ["kid", "KID", " kid", "Kíd"])
def test_case_and_accents_count_for_nothing(names: StructureNames, begin: str) -> None:
    assert names.beginning(begin, MOST)[0].name.lower() in ("kidney", "kidneys")


def test_names_that_begin_so_come_first(names: StructureNames) -> None:
    completed = [entry.name for entry in names.beginning("vena", MOST)]

    starts = [name.lower().startswith("vena") for name in completed]
    assert starts == sorted(starts, reverse=True)
    assert "Left kidney" in [entry.name for entry in names.beginning("kidney", MOST)]


@pytest.mark.parametrize("begin", ["", " ", "?!", "xyzzy"])
def test_where_nothing_begins_so_nothing_is_completed(names: StructureNames, begin: str) -> None:
    assert names.beginning(begin, MOST) == ()


def test_no_more_than_asked_for(names: StructureNames) -> None:
    assert len(names.beginning("a", 7)) == 7


def test_words_of_no_structure_stand_for_none(names: StructureNames) -> None:
    assert names.labels_of("something else") == ()
