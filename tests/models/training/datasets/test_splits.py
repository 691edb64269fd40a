"""Patients are split alike each time, and one in two splits is seen."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training.datasets.splits import leaks, split_name, split_patients

patients = st.lists(st.text(min_size=1, max_size=6), unique=True, max_size=60)


@given(patients, st.integers(0, 5))
def test_every_patient_is_in_one_split_whatever_their_order(names: list[str], seed: int) -> None:
    splits = split_patients(names, seed)

    assert splits.keys() == set(names)
    assert split_patients(reversed(names), seed) == splits
    counts = Counter(splits.values())
    held_out = max(1, round(len(names) * 0.1))
    assert counts["test"] == (held_out if len(names) > 2 else 0)
    assert counts["validation"] == (held_out if len(names) > 1 else 0)


def test_another_seed_is_another_split() -> None:
    names = [f"p{n}" for n in range(40)]

    assert split_patients(names, 0) != split_patients(names, 1)


def test_a_split_does_not_change_with_the_program() -> None:
    # written down once: a checkpoint's training patients must not become its test patients
    assert [p for p, s in split_patients([f"p{n}" for n in range(20)]).items() if s == "test"] == [
        "p11",
        "p10",
    ]


@pytest.mark.parametrize(
    ("name", "split"),
    [("train", "training"), ("Tr", "training"), ("val", "validation"), ("test", "test")],
)
def test_other_peoples_names_of_splits(name: str, split: str) -> None:
    assert split_name(name) == split


def test_a_word_that_is_no_split_is_refused() -> None:
    with pytest.raises(ValueError, match="choose one of training, validation, test"):
        split_name("holdout")


def test_leaks_name_the_patient_and_the_splits() -> None:
    placed = [("a", "training"), ("a", "test"), ("b", "test"), ("b", "test")]

    assert leaks(placed) == {"a": ("training", "test")}
