"""The rooms' one way through: import-linter keeps it, and each contract breaks on a planted violation."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOMS = ("server", "dicom_node", "agent", "models")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the rooms in `folder`, with the contracts of its pyproject.toml."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    environment = {"PYTHONPATH": str(folder), "PATH": "", "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def small_house(repository: Path, tmp_path: Path) -> Path:
    """Empty rooms under the real contracts."""
    shutil.copy(repository / "pyproject.toml", tmp_path)
    for room in ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text(f'"""The room {room}."""\n')
    return tmp_path


def test_the_rooms_keep_every_contract(repository: Path) -> None:
    answer = lint_imports(repository)

    assert answer.returncode == 0, answer.stdout
    assert "0 broken" in answer.stdout


def test_empty_rooms_keep_every_contract(small_house: Path) -> None:
    assert lint_imports(small_house).returncode == 0


VIOLATIONS = [
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
]


@pytest.mark.parametrize(("contract", "room", "line"), VIOLATIONS)
def test_a_planted_import_breaks_its_contract(
    small_house: Path, contract: str, room: str, line: str
) -> None:
    # Arrange: every room has a module to be imported, and one imports what it must not
    for each in ROOMS:
        (small_house / each / "inner.py").write_text('"""Something."""\n')
    (small_house / room / "planted.py").write_text(f'"""Wrong."""\n{line}\n')

    # Act
    answer = lint_imports(small_house)

    # Assert
    assert answer.returncode == 1
    assert f"{contract} BROKEN" in answer.stdout
    assert f"{room}.planted" in answer.stdout


def test_every_contract_is_seen_to_break(repository: Path) -> None:
    table = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))
    contracts = {contract["name"] for contract in table["tool"]["importlinter"]["contracts"]}

    assert contracts == {contract for contract, _, _ in VIOLATIONS}
