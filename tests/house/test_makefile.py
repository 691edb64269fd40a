"""What the Makefile installs, told by a uv that only writes down how it was called."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_STUB = """#!/bin/sh
echo "$(basename "$0") $*" >> "$(dirname "$0")/calls"
"""


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(repository / name, tmp_path)
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    for name in ("python", "uv"):
        (tools / name).write_text(_STUB)
        (tools / name).chmod(0o755)
    return tmp_path


def installs(checkout: Path, *arguments: str) -> list[str]:
    """The calls of uv that `make demo` with these arguments makes."""
    calls = checkout / ".venv" / "bin" / "calls"
    calls.unlink(missing_ok=True)
    command = ["make", "--directory", str(checkout), *arguments, "PYTHON=python3"]
    subprocess.run(command, check=True, capture_output=True)
    lines = calls.read_text().splitlines() if calls.is_file() else []
    return [line for line in lines if line.startswith("uv pip install")]


def test_by_itself_no_backend_is_asked_for(checkout: Path) -> None:
    (call,) = installs(checkout, "demo")

    assert "--torch-backend" not in call
    assert "--reinstall-package" not in call
    assert call.endswith("--editable .[test]")


@pytest.mark.parametrize(("words", "kept"), [((), False), (("KEEP=1",), True)])
def test_the_demo_keeps_its_node_where_it_is_asked_to(
    checkout: Path, words: tuple[str, ...], kept: bool
) -> None:
    installs(checkout, "demo", *words)

    calls = (checkout / ".venv" / "bin" / "calls").read_text().splitlines()
    (demo,) = [line for line in calls if "server.demo" in line]
    assert demo.endswith("--keep") == kept


@pytest.mark.parametrize("backend", ["cpu", "auto"])
def test_torch_is_taken_for_another_backend(checkout: Path, backend: str) -> None:
    (call,) = installs(checkout, "demo", f"TORCH={backend}")

    assert f"--torch-backend {backend} " in call
    assert "--constraints constraints.txt" in call
    assert "--reinstall-package torch " in call


def test_the_backend_is_passed_on_to_what_trains(checkout: Path) -> None:
    calls = installs(checkout, "train-demo", "TORCH=cpu")

    assert len(calls) == 2
    assert all("--torch-backend cpu" in call for call in calls)


def test_what_was_said_once_holds(checkout: Path) -> None:
    installs(checkout, "demo", "TORCH=cpu")

    assert installs(checkout, "demo") == []
    (train,) = installs(checkout, "train-demo")
    assert "--torch-backend cpu" in train


def test_another_backend_is_installed_over_the_first(checkout: Path) -> None:
    installs(checkout, "demo")
    (call,) = installs(checkout, "demo", "TORCH=cpu")

    assert "--torch-backend cpu" in call
