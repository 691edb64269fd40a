"""A peer is an independent program; one that only bears its name is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support import peers

NAMESAKES = ("storescp", "storescu", "echoscu")


@pytest.fixture
def impostor(tmp_path: Path) -> Path:
    """A folder with a program called storescp that answers as pynetdicom's does."""
    program = tmp_path / "storescp"
    program.write_text("#!/bin/sh\necho 'usage: storescp [options] port' >&2\nexit 2\n")
    program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("program", NAMESAKES)
def test_the_environments_own_program_is_no_peer(program: str) -> None:
    namesake = Path(sys.executable).parent / program

    assert namesake.is_file()
    assert not peers.answers_as(namesake, program)


def test_a_namesake_on_the_path_is_passed_over(
    impostor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = tmp_path / "dcmtk" / "storescp"
    genuine.parent.mkdir()
    genuine.write_text("#!/bin/sh\necho '$dcmtk: storescp v3.6.7 2022-04-22 $'\n")
    genuine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{impostor}:/bin")
    peers.find.cache_clear()
    without = peers.find("storescp")
    monkeypatch.setenv("PATH", f"{impostor}:{genuine.parent}:/nowhere:/bin")
    peers.find.cache_clear()
    beside = peers.find("storescp")
    peers.find.cache_clear()

    # /bin is Debian's /usr/bin, where DCMTK may be: then that one is right
    assert without in {None, "/bin/storescp"}
    assert beside == str(genuine)
