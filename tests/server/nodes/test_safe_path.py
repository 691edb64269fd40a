"""No process of ours takes a module from the folder that it is started in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from server.cli import main
from server.nodes.lifecycle import own_python, safe_environment
from server.nodes.supervisor import node_children
from tests.support.composed import ComposedProcesses

ROOMS = ("segnode", "server", "dicom_node", "agent", "models")
SPAWN = """
import multiprocessing
if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=print, args=("spawned",))
    process.start()
    process.join()
"""


@pytest.fixture
def decoys(tmp_path: Path) -> Path:
    """A folder with modules of Python's own names, and of ours, that leave a mark when they run."""
    for name in ("json", "multiprocessing", "server", "selectors"):
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / f'{name}.ran')!r}, 'w').close()\n"
        )
    return tmp_path


def test_a_child_and_its_own_children_pass_by_what_lies_there(
    decoys: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    script = tmp_path_factory.mktemp("elsewhere") / "spawn.py"
    script.write_text(SPAWN)

    answer = subprocess.run(
        [sys.executable, str(script)],
        cwd=decoys,
        env=safe_environment(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )

    assert answer.stdout == "spawned\n"
    assert list(decoys.glob("*.ran")) == []


def test_an_empty_entry_of_pythonpath_is_not_the_folder_it_is_started_in(decoys: Path) -> None:
    meant = decoys / "meant"
    meant.mkdir()
    environment = safe_environment({"PYTHONPATH": f":{meant}:"})

    answer = subprocess.run(
        own_python("-c", "import json, sys; print(json.dumps(sys.path))"),
        cwd=decoys,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    path = json.loads(answer.stdout)
    assert path[0] == str(meant)
    assert str(decoys) not in path
    assert "PYTHONPATH" not in safe_environment({"PYTHONPATH": ""})


def test_every_command_hands_the_safe_path_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "")

    main(["listen"], ComposedProcesses())

    assert os.environ["PYTHONSAFEPATH"] == "1"
    assert all(child.command[1] == "-P" for child in node_children([], ("0",)))


def test_no_room_starts_python_in_another_way(repository: Path) -> None:
    named = [
        (str(path.relative_to(repository)), found)
        for room in ROOMS
        for path in (repository / room).rglob("*.py")
        for found in re.findall(r"sys\.executable.{0,6}", path.read_text(encoding="utf-8"))
    ]

    assert {found for _, found in named} == {'sys.executable, "-P"'}
