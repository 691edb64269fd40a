"""The rooms' names are generic, so what is installed under them is guarded; and the wheel is
whole.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOMS = {"segnode", "server", "dicom_node", "agent", "models"}
TOP_LEVEL = ROOMS | {
    "config",
    "deploy",
    "docs",
    "tests",
    ".ci",
    ".gitignore",
    ".pre-commit-config.yaml",
    ".yamllint.yaml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "constraints.txt",
    "pyproject.toml",
}
FORBIDDEN = {
    "an edit of the import path": r"\bsys\.path\b",
    "code from a model's repository": r"\btrust_remote_code\s*=\s*True",
    "code from a hub": r"\btorch\.hub\b",
    "a room imported as a whole": r"^\s*import (server|dicom_node|agent|models)\s*($|#)",
}


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    (built,) = folder.glob("segnode-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content installed in a folder of its own, away from the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(folder), str(wheel)], check=True, capture_output=True)
    return folder


def run_installed(
    installed: Path, folder: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run `segnode` from the installed wheel, in `folder`, which also holds its storage."""
    environment = {key: text for key, text in os.environ.items() if not key.startswith("SEGNODE_")}
    environment |= {
        "PYTHONPATH": str(installed),
        "PYTHONSAFEPATH": "1",
        "SEGNODE_STORAGE__DIR": str(folder / "var"),
        "SEGNODE_STORAGE__MINIMUM_FREE_BYTES": "0",
    }
    command = [sys.executable, str(installed / "bin" / "segnode"), *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_no_other_distribution_owns_a_room(room: str) -> None:
    # an editable install is not listed, so that nobody at all is right too
    assert set(packages_distributions().get(room, [])) <= {"segnode"}


@pytest.mark.parametrize("folder", ["config", "deploy"])
def test_data_folders_hold_no_python(repository: Path, folder: str) -> None:
    spec = find_spec(folder)

    assert list((repository / folder).rglob("*.py")) == []
    assert spec is None or spec.origin is None


def test_the_top_level_is_the_house(repository: Path) -> None:
    command = ["git", "ls-files"]
    answer = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        pytest.skip("this is no git checkout")
    tracked = {Path(line).parts[0] for line in answer.stdout.splitlines()}

    assert tracked <= TOP_LEVEL
    assert tracked >= ROOMS


def test_the_wheel_is_built_from_an_explicit_list(repository: Path) -> None:
    table = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))
    build = table["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert set(build["packages"]) == ROOMS
    # the distribution bears the name of the one package that is public
    assert table["project"]["name"] == "segnode"


@pytest.mark.parametrize("what", FORBIDDEN)
def test_rooms_do_not_tamper_with_imports(repository: Path, what: str) -> None:
    pattern = re.compile(FORBIDDEN[what], re.MULTILINE)
    files = [path for room in sorted(ROOMS) for path in (repository / room).rglob("*.py")]

    assert [str(path) for path in files if pattern.search(path.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("an edit of the import path", "sys.path.insert(0, '.')"),
        ("code from a model's repository", "load(name, trust_remote_code = True)"),
        ("code from a hub", "torch.hub.load('x', 'y')"),
        ("a room imported as a whole", "import models  # all of it"),
    ],
)
def test_tampering_would_be_seen(what: str, line: str) -> None:
    assert re.search(FORBIDDEN[what], line, re.MULTILINE)


@pytest.mark.parametrize(
    "name",
    [
        "server/config/default.toml",
        "server/config/structures/coding.toml",
        "server/record/database/migrations/env.py",
        "server/record/database/migrations/script.py.mako",
        "server/pages/templates/base.html",
        "server/pages/static/pages.css",
        "models/policies/locator/weights/locator.safetensors",
    ],
)
def test_the_wheel_carries_what_the_node_reads(wheel: Path, name: str) -> None:
    assert name in zipfile.ZipFile(wheel).namelist()


def test_the_wheel_carries_every_migration_and_the_licence(repository: Path, wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    versions = (repository / "server" / "record" / "database" / "migrations" / "versions").glob(
        "*.py"
    )

    assert {str(path.relative_to(repository)) for path in versions} <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_carries_every_prompt(repository: Path, wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    prompts = (repository / "agent" / "language" / "prompts").rglob("*.txt")

    carried = {name for name in names if name.startswith("agent/") and name.endswith(".txt")}
    assert carried == {str(path.relative_to(repository)) for path in prompts}
    assert "agent/language/prompts/tool_call/system.txt" in carried


def test_the_wheel_carries_nothing_but_the_rooms(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}

    assert {top for top in tops if not top.endswith(".dist-info")} == ROOMS


def test_the_installed_wheel_says_what_it_can_do(installed: Path, tmp_path: Path) -> None:
    answer = run_installed(installed, tmp_path, "--help")

    assert answer.returncode == 0, answer.stderr
    assert "segment" in answer.stdout


def test_the_installed_wheel_checks_itself(installed: Path, tmp_path: Path) -> None:
    answer = run_installed(installed, tmp_path, "check")

    assert answer.returncode == 0, answer.stdout + answer.stderr
    # the weights it read are those it brought, not those of the checkout
    assert str(installed / "models" / "policies" / "locator" / "weights") in answer.stdout
