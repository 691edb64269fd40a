"""Independent programs that the interoperability tests talk to, known by what they answer and not
by their name.

pynetdicom installs a `storescp`, an `echoscu` and others of DCMTK's names into every environment: a
test that took one of them for DCMTK would hold our own library against itself. The fixture
`peer` of tests/conftest.py finds them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_ANSWER_S = 60.0  # Chromium's first start on a busy machine

# what the program is asked, and what its answer holds; programs of DCMTK's by default
_DCMTK = ("--version", "$dcmtk: {program} v")
_QUESTIONS = {
    "Orthanc": ("--version", "Orthanc 1."),
    "chromium": ("--version", "Chromium "),
    # dicom3tools know no --version: one shows its usage, the other takes it for a file
    "dciodvfy": ("--version", "dciodvfy [-input-nolengthtoend] [-input-nometa]"),
    "dcentvfy": ("--version", "Abort - File open for read failed"),
    "segimage2itkimage": ("--version", "dcmqi repository URL"),
    "tid1500reader": ("--version", "dcmqi repository URL"),
}


@cache
def find(program: str) -> str | None:
    """The path of the first `program` on PATH, or beside this interpreter, that answers as itself;
    None where none does.
    """
    return next((str(path) for path in _candidates(program) if answers_as(path, program)), None)


def answers_as(path: Path, program: str) -> bool:
    """Whether the file at `path` is the independent program of that name."""
    option, answer = _QUESTIONS.get(program, _DCMTK)
    try:
        ended = subprocess.run(
            [path, option], stdin=subprocess.DEVNULL, capture_output=True, timeout=_ANSWER_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.format(program=program).encode() in ended.stdout + ended.stderr


def _candidates(program: str) -> Iterator[Path]:
    """Executable files of that name; dcmqi's tools come with the Python environment, which nobody
    has on PATH.
    """
    folders = [*os.environ.get("PATH", "").split(os.pathsep), str(Path(sys.executable).parent)]
    for folder in filter(None, folders):
        path = Path(folder, program)
        if path.is_file() and os.access(path, os.X_OK):
            yield path
