"""The rooms' one way through: import-linter keeps it, and each contract breaks on a planted
violation.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOMS = ("segnode", "server", "dicom_node", "agent", "models")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the rooms in `folder`, with the contracts of its pyproject.toml."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    environment = {"PYTHONPATH": str(folder), "PATH": "", "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def small_house(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Empty rooms under the real contracts; each test puts back what it plants."""
    tmp_path = tmp_path_factory.mktemp("house")
    shutil.copy(repository / "pyproject.toml", tmp_path)
    for room in ROOMS:
        for init in (repository / room).rglob("__init__.py"):
            empty = tmp_path / init.relative_to(repository)
            empty.parent.mkdir(parents=True, exist_ok=True)
            empty.write_text('"""A room."""\n')
    (tmp_path / "server" / "pipeline.py").write_text('"""One study."""\n')
    return tmp_path


def test_the_rooms_keep_every_contract(repository: Path) -> None:
    answer = lint_imports(repository)

    assert answer.returncode == 0, answer.stdout
    assert "0 broken" in answer.stdout


def test_empty_rooms_keep_every_contract(small_house: Path) -> None:
    assert lint_imports(small_house).returncode == 0


VIOLATIONS = [
    ("A study flows one way", "server", "import segnode.inner"),
    ("A study flows one way", "agent", "import models.inner"),
    ("A study flows one way", "agent", "import server.inner"),
    ("A study flows one way", "models", "import server.inner"),
    ("A study flows one way", "models", "import dicom_node.inner"),
    ("A study flows one way", "dicom_node", "import models.inner"),
    ("A study flows one way", "dicom_node", "import server.inner"),
    ("The DICOM edge knows no agent", "dicom_node", "import agent.inner"),
    ("Only the DICOM edge speaks DICOM", "server", "import pynetdicom"),
    ("Only the DICOM edge speaks DICOM", "models", "import highdicom"),
    ("Only the DICOM edge speaks DICOM", "agent", "from pynetdicom import AE"),
    ("Only the models load tensors", "server", "import torch"),
    ("Only the models load tensors", "dicom_node", "import monai.transforms"),
    ("Only the models load tensors", "agent", "from transformers import AutoModel"),
    ("Only the models load tensors", "server", "import onnxruntime"),
    ("Only the server keeps the record", "dicom_node", "import sqlalchemy"),
    ("Only the server keeps the record", "models", "from fastapi import FastAPI"),
    ("Only the server keeps the record", "agent", "import dbos"),
    ("Only the server keeps the record", "models", "import psycopg2"),
    ("What receives knows nothing of what comes after", "dicom_node/receive", "import highdicom"),
    (
        "What receives knows nothing of what comes after",
        "dicom_node/receive",
        "import dicom_node.series.inner",
    ),
    ("An episode knows one slice", "agent/episode", "import agent.volume.inner"),
    ("An episode knows one slice", "agent/episode", "import agent.language.inner"),
    (
        "A study's stages know no record, queue or HTTP",
        "server/study",
        "import server.record.inner",
    ),
    (
        "A study's stages know no record, queue or HTTP",
        "server/study",
        "import server.http.inner",
    ),
    ("Pages are a way in, and nobody's part", "server/http", "import server.pages.inner"),
    ("Pages are a way in, and nobody's part", "server/record", "import jinja2"),
    (
        "Pages see what the record answers, never a table",
        "server/pages",
        "import server.record.database.inner",
    ),
    ("Pages see what the record answers, never a table", "server/pages", "import sqlalchemy"),
]
CIRCLE = "Siblings go round in no circle"


@pytest.fixture(scope="module")
def planted_imports(small_house: Path) -> str:
    """What import-linter prints where every room has a module to be imported, and one module for
    each violation imports what it must not.
    """
    planted = [
        (folder.with_name("inner.py"), '"""Something."""\n')
        for folder in small_house.rglob("__init__.py")
    ] + [
        (small_house / room / f"planted_{number}.py", f'"""Wrong."""\n{line}\n')
        for number, (_, room, line) in enumerate(VIOLATIONS)
    ]
    for path, text in planted:
        path.write_text(text)
    answer = lint_imports(small_house)
    for path, _ in planted:
        path.unlink()
    assert answer.returncode == 1
    return answer.stdout


@pytest.mark.parametrize("number", range(len(VIOLATIONS)), ids=lambda n: "-".join(VIOLATIONS[n]))
def test_a_planted_import_breaks_its_contract(planted_imports: str, number: int) -> None:
    contract, room, _ = VIOLATIONS[number]

    assert f"{contract} BROKEN" in planted_imports
    # the report of each broken contract stands under its name
    (report,) = re.findall(
        rf"\n{contract}\n-+\n(.*?)(?=\n[^\n]+\n---|\Z)", planted_imports, re.DOTALL
    )
    assert re.search(rf"\b{room.replace('/', '.')}\.planted_{number}\b", report)


CIRCLES = [*ROOMS, "models/policies", "server/record"]


@pytest.fixture(scope="module")
def planted_circles(small_house: Path) -> str:
    """What import-linter prints where each of CIRCLES holds two modules that import each other."""
    pairs = (("one", "other"), ("other", "one"))
    planted = [
        (small_house / room / f"{name}.py", f'"""A."""\nimport {room.replace("/", ".")}.{other}\n')
        for room in CIRCLES
        for name, other in pairs
    ]
    for path, text in planted:
        path.write_text(text)
    answer = lint_imports(small_house)
    for path, _ in planted:
        path.unlink()
    assert answer.returncode == 1
    return answer.stdout


@pytest.mark.parametrize("room", CIRCLES)
def test_a_circle_of_siblings_breaks_the_contract(planted_circles: str, room: str) -> None:
    assert f"{CIRCLE} BROKEN" in planted_circles
    assert f"No cycles are allowed in {room.replace('/', '.')}." in planted_circles


AGENT_MAY_IMPORT = {"agent", "numpy", "scipy", *sys.stdlib_module_names}


def imported_packages(source: str) -> set[str]:
    """The top-level packages that a module imports, also within functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_the_agent_needs_numpy_and_scipy_alone(repository: Path) -> None:
    for file in (repository / "agent").rglob("*.py"):
        assert imported_packages(file.read_text("utf-8")) <= AGENT_MAY_IMPORT, file


def test_an_import_in_a_function_is_found() -> None:
    assert imported_packages("def f() -> None:\n    from PIL import Image\n") == {"PIL"}


def test_every_contract_is_seen_to_break(repository: Path) -> None:
    table = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))
    contracts = {contract["name"] for contract in table["tool"]["importlinter"]["contracts"]}

    assert contracts == {contract for contract, _, _ in VIOLATIONS} | {CIRCLE}
