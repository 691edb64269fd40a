"""Pictures of turns come from a child process: whatever it does, the API hears it in a sentence."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.errors import PictureFailed, TurnsGone
from server.nodes.picture_process import PictureProcess

# Answers by the turn's reply; dies once of "unlucky", and always of "deadly"
FAKE_CHILD = """
import base64, json, os, pathlib, sys, time
print("ready", flush=True)
for line in sys.stdin:
    question = json.loads(line)
    reply, folder = question["turn"]["reply"], pathlib.Path(question["folder"])
    if reply == "deadly" or reply == "unlucky" and not (folder / "died").exists():
        (folder / "died").touch()
        sys.exit(1)
    if reply == "endless":
        (folder / "asked").touch()
        time.sleep(60)
    answer = {"png": base64.b64encode(line.encode()).decode()}
    if reply in ("gone", "failed"):
        answer = {reply: "as answered"}
    print("?" if reply == "odd" else json.dumps(answer), flush=True)
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "r1").mkdir()
    return tmp_path


@pytest.fixture
def drawing(work: Path) -> Iterator[PictureProcess]:
    with PictureProcess(work, command=(sys.executable, "-c", FAKE_CHILD)) as process:
        yield process


def test_the_child_is_asked_for_this_turn(drawing: PictureProcess, work: Path) -> None:
    png = drawing.png("r1", 3, {"reply": "stop", "index": 2})

    question = {"folder": str(work / "r1"), "target": 3, "turn": {"reply": "stop", "index": 2}}
    assert json.loads(png) == question


@pytest.mark.parametrize(
    ("reply", "error", "sentence"),
    [
        ("gone", TurnsGone, "^as answered$"),
        ("failed", PictureFailed, "drawing this turn as answered"),
        ("deadly", PictureFailed, "drawing this turn ended its process"),
        ("odd", PictureFailed, "drawing this turn ended its process"),
    ],
)
def test_a_turn_without_a_picture_says_why_and_the_next_is_drawn(
    drawing: PictureProcess, reply: str, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        drawing.png("r1", 0, {"reply": reply})

    assert drawing.png("r1", 0, {"reply": "stop"})


def test_a_child_that_has_just_ended_is_replaced(drawing: PictureProcess) -> None:
    assert drawing.png("r1", 0, {"reply": "unlucky"})


def test_closing_ends_a_picture_that_is_being_drawn(
    drawing: PictureProcess, work: Path, until: Callable[..., object]
) -> None:
    failures: list[PictureFailed] = []

    def ask() -> None:
        try:
            drawing.png("r1", 0, {"reply": "endless"})
        except PictureFailed as failure:
            failures.append(failure)

    asking = threading.Thread(target=ask)
    asking.start()
    until((work / "r1" / "asked").exists)

    drawing.close()
    asking.join(30)

    assert [str(failure) for failure in failures] == ["the node stops"]


def loaded_by(code: str) -> set[str]:
    """The heavy packages that a process has loaded after `code`."""
    told = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"torch", "monai", "transformers", "onnxruntime", "nibabel", "pynetdicom", "highdicom"}
    server = {"dbos", "sqlalchemy", "fastapi", "server.study.request_replay"}
    return set(told.stdout.split()) & (heavy | server)


def test_the_api_loads_nothing_that_draws_and_what_draws_no_api() -> None:
    api = loaded_by("import server.compose.api")
    child = loaded_by("import server.study.picture_child")

    assert not api & {"torch", "monai", "onnxruntime", "nibabel", "server.study.request_replay"}
    assert child == {"nibabel", "server.study.request_replay"}


def test_the_real_child_answers_within_its_bounds(work: Path) -> None:
    with (
        PictureProcess(work) as process,
        pytest.raises(TurnsGone, match="a turn of this trace cannot be read"),
    ):
        process.png("r1", 0, {"reply": base64.b64encode(b"no turn").decode()})
