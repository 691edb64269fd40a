"""Plug-ins by their entry points: what is taken, and what is wrong with the others."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from models.entries import SegmenterEntry
from models.errors import BrokenPlugin, UnknownModel
from models.plugins import SEGMENTER_GROUP, Plugin, read_plugins
from models.shipped import SEGMENTERS


class Distribution:
    """What an entry point says of the distribution that brings it."""

    def __init__(self, name: str) -> None:
        self.name, self.version = name, "1.2.0"


def point(name: str, value: str, distribution: str = "acme") -> EntryPoint:
    """An entry point of a distribution."""
    registered: Any = EntryPoint(name, value, SEGMENTER_GROUP)
    named: EntryPoint = registered._for(Distribution(distribution))  # as importlib does it
    return named


def plugins(*points: EntryPoint) -> tuple[Plugin[SegmenterEntry], ...]:
    """What is read of these entry points."""
    return read_plugins("segmenter", SegmenterEntry, SEGMENTERS, lambda: EntryPoints(points))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a module that can be imported; its name."""

    def write(source: str) -> str:
        (tmp_path / "acme_module.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "acme_module", raising=False)
        return "acme_module"

    return write


def test_an_entry_is_taken_with_its_distribution(module: Callable[[str], str]) -> None:
    name = module('from models.shipped import SEGMENTERS\nENTRY = SEGMENTERS["fake"]\n')

    (plugin,) = plugins(point("acme", f"{name}:ENTRY"))

    assert plugin.entry is SEGMENTERS["fake"]
    assert plugin.usable() == plugin.distribution == "acme 1.2.0"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_package", "cannot be imported (No module named 'no_such_package')"),
        ("raise SystemExit", "cannot be imported (no reason was given)"),
        ("raise ImportError('one\\ntwo')", "cannot be imported (one)"),
        ("OTHER = 1", "cannot be imported (module 'acme_module' has no attribute 'ENTRY')"),
        ("ENTRY = object()", "is a object, not a SegmenterEntry"),
    ],
)
def test_a_broken_one_is_told_in_one_sentence(
    module: Callable[[str], str], source: str, reason: str
) -> None:
    name = module(f"{source}\n")

    (plugin,) = plugins(point("acme", f"{name}:ENTRY"))

    assert plugin.entry is None
    assert plugin.fault == (
        f"the segmenter 'acme' of acme 1.2.0 cannot be used: acme_module:ENTRY {reason}"
    )
    with pytest.raises(BrokenPlugin, match="Repair or remove that distribution"):
        plugin.usable()


def test_a_broken_plugin_is_an_unknown_model() -> None:
    assert issubclass(BrokenPlugin, UnknownModel)  # one answer over HTTP for both


def test_a_name_of_segnodes_own_is_not_taken_over() -> None:
    (plugin,) = plugins(point("medsam2", "acme_module:ENTRY"))

    assert plugin.entry is None
    assert "Segnode has one of that name" in plugin.fault


def test_of_two_under_one_name_neither_is_used() -> None:
    both = plugins(point("acme", "a:ENTRY", "zeta"), point("acme", "b:ENTRY", "alpha"))

    assert [plugin.distribution for plugin in both] == ["alpha 1.2.0", "zeta 1.2.0"]
    assert all("another distribution brings one" in plugin.fault for plugin in both)


@pytest.mark.parametrize("name", ["Acme", "acme net", "-acme", "a" * 65])
def test_a_name_that_configuration_cannot_hold_is_refused(name: str) -> None:
    (plugin,) = plugins(point(name, "acme_module:ENTRY"))

    assert "64 characters at most" in plugin.fault
