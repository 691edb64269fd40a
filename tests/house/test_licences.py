"""What runs is free to be shipped with a product under Apache-2.0: every distribution's licence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# As classifiers, expressions and free text of distributions name them
PERMISSIVE = re.compile(
    r"\b(MIT|MIT-0|MIT-CMU|HPND|Apache|BSD|BSD-\d-Clause|0BSD|ISC|PSF|PSF-2\.0|Python Software"
    r" Foundation|Python-2\.0|Zlib|Unlicense|CC0|Public Domain|PostgreSQL|BSL-1\.0|CNRI-Python)\b",
    re.IGNORECASE,
)
# The copyleft of a file or a library ends at its border: it is used unchanged and as it comes
WEAK_COPYLEFT = re.compile(r"\b(LGPL|Lesser General Public|MPL|Mozilla Public)", re.IGNORECASE)
STRONG_COPYLEFT = re.compile(r"\bA?GPL|(?<!Lesser )General Public Licen[cs]e", re.IGNORECASE)

#: Looked at one by one, and why they may stay.
LISTED = {
    "psycopg": "LGPL-3.0: dbos asks for it; a library in Python, loaded and not changed",
    "psycopg-binary": "LGPL-3.0: as psycopg",
    "psycopg2-binary": "LGPL-3.0 with exceptions: SQLAlchemy's driver; loaded and not changed",
    "certifi": "MPL-2.0: a list of certificates, not changed",
    "shtab": "MPL-2.0: writes what completes the command line; not changed",
    "tqdm": "MPL-2.0 and MIT: not changed",
}
#: NVIDIA's run time comes with torch on Linux; its licence lets it be passed on unchanged.
NVIDIA = re.compile(r"^(nvidia-|cuda-)")
#: Distributions whose metadata name no licence, with that of their LICENSE file or repository.
UNNAMED = {"segment-anything": "Apache-2.0"}


def closure(extras: frozenset[str]) -> Iterator[str]:
    """The canonical names of what segnode with these extras asks for, as far as it is installed."""
    waiting, seen = [("segnode", extras)], set()
    while waiting:
        name, asked = waiting.pop()
        if (name, asked) in seen:
            continue
        seen.add((name, asked))
        try:
            requirements = requires(name) or []
        except PackageNotFoundError:
            continue
        if name != "segnode":
            yield name
        for text in requirements:
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *asked}):
                waiting.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))


def licence_of(name: str) -> str:
    """What the metadata of a distribution state: expression, classifiers, else their free text."""
    metadata = distribution(name).metadata
    classifiers = [
        text.removeprefix("License :: ").removeprefix("OSI Approved :: ")
        for text in metadata.get_all("Classifier", [])
        if text.startswith("License :: ")
    ]
    stated = [metadata["License-Expression"] or "", *classifiers]
    free_text = (metadata["License"] or "").strip()[:200]
    return "; ".join(part for part in stated if part) or UNNAMED.get(name, free_text)


def fault_of(licence: str, listed: bool) -> str:
    """Why a distribution under this licence may not be asked for; "" if it may."""
    if STRONG_COPYLEFT.search(licence):
        return "" if listed and WEAK_COPYLEFT.search(licence) else "is under the GPL"
    if WEAK_COPYLEFT.search(licence):
        return "" if listed else "is copyleft and not LISTED with a reason"
    if PERMISSIVE.search(licence):
        return ""
    return "names no licence that is known here"


@pytest.mark.parametrize("extras", [frozenset(), frozenset({"train", "gpu"})])
def test_all_that_runs_may_be_shipped(extras: frozenset[str]) -> None:
    names = sorted(set(closure(extras)))
    faults = {
        name: f"{licence_of(name)!r} {fault}"
        for name in names
        if not NVIDIA.match(name) and (fault := fault_of(licence_of(name), name in LISTED))
    }

    assert len(names) > 60
    assert not faults


def test_no_stale_entries() -> None:
    names = set(closure(frozenset({"train", "gpu"})))

    assert {*LISTED, *UNNAMED} <= names


@pytest.mark.parametrize(
    ("licence", "fault"),
    [
        ("MIT", ""),
        ("BSD-3-Clause AND MIT", ""),
        ("GPL V3.0", "is under the GPL"),
        ("GNU General Public License v3 (GPLv3); Other/Proprietary License", "is under the GPL"),
        ("AGPL-3.0-only", "is under the GPL"),
        ("GNU Library or Lesser General Public License (LGPL)", "is copyleft and not LISTED"),
        ("", "names no licence"),
        ("Other/Proprietary License", "names no licence"),
    ],
)
def test_licences_are_told_apart(licence: str, fault: str) -> None:
    assert fault_of(licence, listed=False).startswith(fault)
    assert bool(fault_of(licence, listed=False)) == bool(fault)
