"""Every gate of the one check is seen to close: a planted fault makes its command fail, and names
itself.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


@pytest.fixture
def house(repository: Path, tmp_path: Path) -> Path:
    """A house with the real settings of every tool and one faultless module."""
    shutil.copy(repository / "pyproject.toml", tmp_path)
    shutil.copy(repository / ".yamllint.yaml", tmp_path)
    for room in ("segnode", "server", "dicom_node", "agent", "models"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text(f'"""The room {room}."""\n')
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_nothing.py").write_text("")
    return tmp_path


def run(house: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run one of the check's commands in `house`."""
    program, *arguments = command
    return subprocess.run(
        [str(BIN / program), *arguments], cwd=house, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "command",
    [("ruff", "format", "--check", "."), ("ruff", "check", "."), ("mypy",)],
    ids=" ".join,
)
def test_a_house_without_faults_passes(house: Path, command: tuple[str, ...]) -> None:
    answer = run(house, *command)

    assert answer.returncode == 0, answer.stdout


def test_another_format_is_found(house: Path) -> None:
    (house / "agent" / "planted.py").write_text('"""Planted."""\nA = {"a":1}\n')

    assert run(house, "ruff", "format", "--check", ".").returncode == 1


LINT = {
    "T201": 'print("hello")',
    "BLE001": "try:\n    A = 1\nexcept Exception:\n    A = 2",
    "E722": "try:\n    A = 1\nexcept:\n    A = 2",
    "S307": 'A = eval("1")',
    "F401": "import os",
    "TID252": "from .inner import A",
    "PGH003": "A = 1  # type: ignore",
    "PGH004": "A = 1  # noqa",
    "RUF100": "A = 1  # noqa: E741 - nothing is wrong here",
    "D103": "def planted() -> None: ...",
    "PTH123": 'A = open("x")',
    "ERA001": "# A = 1",
    "E501": f'A = "{"long " * 20}"',
}


def test_what_the_linter_must_find_is_found(house: Path) -> None:
    for code, lines in LINT.items():
        planted = house / "agent" / f"planted_{code.lower()}.py"
        planted.write_text(f'"""Planted."""\n\n{lines}\n')

    answer = run(house, "ruff", "check", "--output-format", "concise", ".")

    assert answer.returncode == 1
    faults = re.findall(r"planted_(\w+)\.py:\d+:\d+: ([A-Z]+\d+)\b", answer.stdout)
    assert {code for file, code in faults if file == code.lower()} == set(LINT)


TYPES = [
    ("models", "def planted(a): return a", "no-untyped-def"),
    ("models", "def planted(a: list) -> None: ...", "type-arg"),
    ("models", "A: int = 'one'", "assignment"),
    ("models", "A = 1  # type: ignore[misc]", "unused-ignore"),
    ("models", "import nothing_of_that_name", "import-not-found"),
    ("tests", "def test_planted(a): len(3)", "arg-type"),
    ("tests", "def test_planted(a) -> None: ...", "no-untyped-def"),
    ("tests", "def planted(a: list) -> None: ...", "type-arg"),
    ("tests", "A: int = 'one'", "assignment"),
]


def test_what_the_type_checker_must_find_is_found(house: Path) -> None:
    for number, (folder, line, _) in enumerate(TYPES):
        (house / folder / f"planted_{number}.py").write_text(f'"""Planted."""\n\n{line}\n')

    answer = run(house, "mypy")

    assert answer.returncode == 1
    faults = re.findall(r"planted_(\d+)\.py:\d+: error: .*\[([\w-]+)\]", answer.stdout)
    assert {(int(number), fault) for number, fault in faults} >= {
        (number, fault) for number, (_, _, fault) in enumerate(TYPES)
    }


def test_no_module_is_spared_the_type_checker(repository: Path) -> None:
    table = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]
    spared = {
        fault for override in table["overrides"] for fault in override.get("disable_error_code", [])
    }

    assert spared == {"comparison-overlap"}
    assert not any(override.get("ignore_errors") for override in table["overrides"])


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("import warnings\ndef test_a(): warnings.warn('old')", "UserWarning: old"),
        ("import pytest\n@pytest.mark.fats\ndef test_a(): ...", "'fats' not found"),
        ("import pytest\n@pytest.mark.xfail\ndef test_a(): ...", "XPASS(strict)"),
        ("def test_a(): assert 1 == 2", "assert 1 == 2"),
    ],
    ids=["a warning", "an unknown marker", "a failure that passes", "a failure"],
)
def test_what_the_tests_must_not_let_pass_fails(house: Path, test: str, said: str) -> None:
    (house / "tests" / "test_planted.py").write_text(f"{test}\n")

    answer = run(house, "pytest", "-p", "no:cacheprovider")

    assert answer.returncode != 0
    assert said in answer.stdout + answer.stderr


def test_a_room_below_its_floor_of_coverage_fails(house: Path, repository: Path) -> None:
    text = (repository / "Makefile").read_text("utf-8")
    floors = dict(re.findall(r"^FLOOR_(\w+) := (\d+)$", text, re.MULTILINE))
    planted = '"""Planted."""\n\n\ndef f() -> int:\n    """Nobody calls it."""\n    return 1\n'
    (house / "agent" / "planted.py").write_text(planted)
    (house / "tests" / "test_planted.py").write_text("import agent.planted\ndef test_a(): ...\n")

    options = ("-p", "no:cacheprovider", "--cov=agent", f"--cov-fail-under={floors['AGENT']}")
    answer = run(house, "python", "-m", "pytest", *options)

    assert set(floors) == {"AGENT", "DICOM_NODE", "MODELS", "SERVER"}
    assert answer.returncode != 0
    assert f"coverage of {floors['AGENT']}% not reached" in answer.stdout + answer.stderr


def test_bad_yaml_is_found(house: Path) -> None:
    (house / "planted.yaml").write_text("a: 1\na: 2\n")

    answer = run(house, "yamllint", "--strict", ".")

    assert answer.returncode == 1
    assert "duplication" in answer.stdout


def test_the_one_check_runs_every_gate(repository: Path) -> None:
    text = (repository / "Makefile").read_text("utf-8")
    recipes = dict(re.findall(r"^(\w+):.*\n((?:\t.*\n)+)", text, re.MULTILINE))

    assert re.search(r"^check: lint\b", text, re.MULTILINE)
    assert re.search(r"^test: check$", text, re.MULTILINE)
    for gate in ("ruff format --check", "ruff check", "mypy", "lint-imports", "yamllint --strict"):
        assert gate in recipes["lint"]
    assert "pytest $(PARALLEL)" in recipes["check"]
    assert re.search(r"^PARALLEL \?= --numprocesses auto --dist loadfile", text, re.MULTILINE)


def test_hand_hook_and_ci_call_the_same_command(repository: Path) -> None:
    hooks = (repository / ".pre-commit-config.yaml").read_text("utf-8")
    ci = (repository / ".ci" / "run").read_text("utf-8")

    assert "entry: make check" in hooks
    assert "part .ci/test-twice" in ci
    assert "make --no-print-directory test" in (repository / ".ci" / "test-twice").read_text()
    assert "SEGNODE_REQUIRE_PEERS=1" in ci
    assert "--durations=25" in ci


@pytest.mark.parametrize(
    ("failed", "second", "ends_well"),
    [
        ([], 0, True),
        (["a"], 0, True),
        (["a"], 1, False),
        (list("abcd"), 0, False),
        (None, 0, False),
    ],
    ids=["all pass", "one is unsteady", "one is broken", "too many", "lint fails"],
)
def test_ci_runs_few_failed_tests_a_second_time(
    tmp_path: Path, repository: Path, failed: list[str] | None, second: int, ends_well: bool
) -> None:
    # Arrange: the second run is a stub that ends as told, and so is `make test`
    for folder in (".ci", ".venv/bin", "bin", ".pytest_cache/v/cache"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(repository / ".ci" / "test-twice", tmp_path / ".ci")
    record = tmp_path / ".pytest_cache/v/cache/lastfailed"
    record.write_text('{"of an earlier run": true}')
    writes = (
        "" if failed is None else f"echo '{json.dumps(dict.fromkeys(failed, True))}' > {record}"
    )
    stubs = {
        "bin/make": f"{writes}\nexit {int(failed != [])}",
        ".venv/bin/python": f'[ "$1" = -m ] && exit {second}; exec {sys.executable} "$@"',
    }
    for name, line in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{line}\n")
        (tmp_path / name).chmod(0o755)

    # Act
    answer = subprocess.run(
        [tmp_path / ".ci" / "test-twice"],
        env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )

    # Assert
    assert (answer.returncode == 0) is ends_well, answer.stdout + answer.stderr
    assert ("UNSTEADY" in answer.stdout) is (failed == ["a"] and ends_well)


def test_seconds_per_room_are_printed_with_the_slowest_tests(house: Path, repository: Path) -> None:
    shutil.copy(repository / "tests" / "conftest.py", house / "tests")
    shutil.copytree(repository / "tests" / "support", house / "tests" / "support")
    (house / "tests" / "agent").mkdir()
    (house / "tests" / "agent" / "test_planted.py").write_text("def test_a(): ...\n")

    answer = run(house, "pytest", "-p", "no:cacheprovider", "--durations", "1")

    assert re.search(r"seconds per room =+\s+0\.0 s  agent\n", answer.stdout), answer.stdout
