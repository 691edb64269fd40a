"""Examples in docstrings run: every module of the rooms that has one is imported, and tried."""

from __future__ import annotations

import doctest
import types
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("segnode", "server", "dicom_node", "agent", "models")
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def with_examples() -> list[str]:
    """Dotted names of the modules that show what they do."""
    files = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in files
        if ">>> " in path.read_text("utf-8")
    ]


def failures(module: types.ModuleType) -> tuple[int, int]:
    """How many examples of a module failed, and how many there are."""
    results = doctest.testmod(module, optionflags=FLAGS, verbose=False)
    return results.failed, results.attempted


@pytest.mark.parametrize("name", with_examples())
def test_examples_give_what_they_show(name: str) -> None:
    failed, attempted = failures(import_module(name))

    assert failed == 0
    assert attempted > 0, f"{name} has examples where doctest looks for none"


def test_there_are_examples() -> None:
    assert len(with_examples()) >= 8


def test_a_wrong_example_fails() -> None:
    planted = types.ModuleType("planted", "One.\n\n>>> 1 + 1\n3\n")

    assert failures(planted) == (1, 1)
