"""The table of what is expected of structures."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from server.errors import ConfigurationError
from server.rules.catalogue import load_catalogue
from server.rules.expectations import Expectation, Span, load_expectations

CATALOGUE = load_catalogue()


def table(folder: Path, text: str) -> Path:
    path = folder / "plausibility.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_paired_structure_is_expected_on_each_side() -> None:
    expectations = load_expectations(CATALOGUE)

    assert (expectations["left_kidney"].side, expectations["right_kidney"].side) == (
        "left",
        "right",
    )
    assert expectations["left_kidney"].volume_ml == expectations["right_kidney"].volume_ml
    assert "kidney" not in expectations
    assert (expectations["liver"].side, expectations["pancreas"].side) == ("right", "")


def test_every_entry_names_what_its_figures_follow(repository: Path) -> None:
    text = (repository / "config" / "plausibility.toml").read_text("utf-8")

    assert [key for key, entry in tomllib.loads(text).items() if len(entry["source"]) < 20] == []


def test_what_is_left_out_is_not_expected(tmp_path: Path) -> None:
    path = table(tmp_path, '[liver]\nml = [1, 2]\nparts = false\n[spleen]\nside = "left"\n')

    assert load_expectations(CATALOGUE, path) == {
        "liver": Expectation(Span(1.0, 2.0), None, "", single=False),
        "spleen": Expectation(None, None, "left", single=True),
    }


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[unicorn]\nml = [1, 2]\n", "'unicorn' is no structure"),
        ("[liver]\nml = [2, 1]\n", "'liver' has the bounds"),
        ("[liver]\nhu = [1]\n", "'liver' has the bounds"),
        ("[liver]\nvolume = [1, 2]\n", "'liver' has volume"),
        ('[liver]\nside = "middle"\n', "neither left nor right"),
        ("[liver\n", "cannot be read"),
    ],
)
def test_a_fault_of_the_table_is_named(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        load_expectations(CATALOGUE, table(tmp_path, text))
