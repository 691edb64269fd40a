"""Which patient is in which split, and that none is in two."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

TRAINING, VALIDATION, TEST = SPLITS = ("training", "validation", "test")

_OTHER_NAMES = {
    "train": TRAINING,
    "tr": TRAINING,
    "val": VALIDATION,
    "valid": VALIDATION,
    "dev": VALIDATION,
    "testing": TEST,
    "ts": TEST,
}
_HELD_OUT = 0.1  # of the patients for validation, and as many for the test


def split_name(name: str) -> str:
    """The name we use for a split that a data set calls `name`; ValueError for a word that is no
    split's.

    >>> split_name("val")
    'validation'
    """
    folded = name.strip().lower()
    split = _OTHER_NAMES.get(folded, folded)
    if split not in SPLITS:
        raise ValueError(f"there is no split called '{name}': choose one of {', '.join(SPLITS)}")
    return split


def split_patients(patients: Iterable[str], seed: int = 0) -> dict[str, str]:
    """A split for every patient, the same for the same patients and seed in any order.

    A tenth of the patients, at least one, goes to the test split and as many to validation; of two
    patients one is for validation, and one alone is for training.
    """
    ordered = sorted(set(patients), key=lambda patient: _digest(patient, seed))
    held_out = max(1, round(len(ordered) * _HELD_OUT))
    tests = held_out if len(ordered) > 2 else 0
    validations = held_out if len(ordered) > 1 else 0
    return {
        patient: TEST if n < tests else VALIDATION if n < tests + validations else TRAINING
        for n, patient in enumerate(ordered)
    }


def leaks(placed: Iterable[tuple[str, str]]) -> Mapping[str, tuple[str, ...]]:
    """The patients that are in more than one split, with those splits, from (patient, split)."""
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for patient, split in placed:
        splits[patient].add(split)
    return {
        patient: tuple(split for split in SPLITS if split in names)
        for patient, names in sorted(splits.items())
        if len(names) > 1
    }


def _digest(patient: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}|{patient}".encode()).digest()
