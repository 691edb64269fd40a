"""A child that answers lines: its answers, and every way in which it may die of one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.nodes.child_process import ChildDied, ChildProcess

ECHO = """
import os, signal, sys, time
print("ready", flush=True)
for line in sys.stdin:
    word = line.strip()
    if word == "die":
        sys.exit(3)
    if word == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if word.startswith("sleep"):
        open(word[5:].strip() or os.devnull, "w").close()
        time.sleep(60)
    print(f"{os.getpid()} {'x' * 500 if word == 'long' else word}", flush=True)
"""


@pytest.fixture
def child() -> Iterator[ChildProcess]:
    child = ChildProcess((sys.executable, "-c", ECHO), 30.0, 100)
    yield child
    child.end()


def test_one_child_answers_line_after_line(child: ChildProcess) -> None:
    answers = [child.ask(line).split() for line in (b"one\n", b"two\n")]

    assert [word for _, word in answers] == [b"one", b"two"]
    assert len({pid for pid, _ in answers}) == 1


@pytest.mark.parametrize(
    ("line", "how"),
    [
        (b"die\n", "ended its process"),
        (b"killed\n", "takes too much memory"),
        (b"long\n", "ended its process"),
    ],
)
def test_the_next_line_after_a_death_goes_to_another_child(
    child: ChildProcess, line: bytes, how: str
) -> None:
    first = child.ask(b"one\n").split()[0]

    with pytest.raises(ChildDied, match=how):
        child.ask(line)

    again, word = child.ask(b"two\n").split()
    assert word == b"two"
    assert again != first


def test_a_line_that_takes_too_long_is_given_up(child: ChildProcess) -> None:
    child.ask(b"one\n")
    child.longest_answer_s = 0.2

    with pytest.raises(ChildDied, match="takes longer than"):
        child.ask(b"sleep\n")


def test_a_child_is_ended_from_another_thread(
    child: ChildProcess, until: Callable[..., object], tmp_path: Path
) -> None:
    child.ask(b"one\n")
    ways: list[ChildDied] = []
    asked = tmp_path / "asked"

    def ask() -> None:
        try:
            child.ask(f"sleep {asked}\n".encode())
        except ChildDied as death:
            ways.append(death)

    asking = threading.Thread(target=ask)
    asking.start()
    until(asked.exists)  # a kill before the question would leave it to another child
    child.kill()
    asking.join(30)

    assert len(ways) == 1


def test_no_child_to_be_had_is_an_error_of_the_machine() -> None:
    child = ChildProcess((sys.executable, "-c", "raise SystemExit(1)"), 30.0, 100)

    with pytest.raises(OSError, match="does not start"):
        child.ask(b"one\n")


def test_a_child_is_told_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGNODE_DATABASE__URL", "postgresql://u:secret@h/d")
    code = 'import os; print("ready", flush=True); input(); print(" ".join(os.environ), flush=True)'
    child = ChildProcess((sys.executable, "-c", code), 30.0, 1 << 16)

    names = child.ask(b"one\n").split()

    assert b"OMP_NUM_THREADS" in names
    assert not [name for name in names if name.startswith(b"SEGNODE")]
    child.end()
