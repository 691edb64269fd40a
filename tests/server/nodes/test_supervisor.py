"""The supervisor with children of a few lines: ready, crashed, stopped, orphaned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from server.nodes.supervisor import ChildSpec, Supervisor, node_children

READY = """
import os, sys, time
from pathlib import Path
from server.nodes.lifecycle import announce_ready, end_with_parent, stop_on_signals
end_with_parent()
stop = stop_on_signals()
folder = Path(sys.argv[1])
(folder / f"started-{os.getpid()}").touch()
announce_ready("here I am")
stop.wait()
(folder / f"stopped-{os.getpid()}").touch()
"""
STUBBORN = READY.replace("stop.wait()", "time.sleep(600)")
BROKEN = "import sys; sys.exit(3)"


@pytest.fixture
def environment(repository: Path) -> Mapping[str, str]:
    return os.environ | {"PYTHONPATH": str(repository)}


def child(code: str, folder: Path, *, essential: bool = False) -> ChildSpec:
    return ChildSpec("child", (sys.executable, "-c", code, str(folder)), essential)


class Run:
    """A supervisor in a thread."""

    def __init__(self, environment: Mapping[str, str], *children: ChildSpec) -> None:
        self.said: list[Sequence[str]] = []
        self.ended: list[int] = []
        self.stop = threading.Event()
        self.supervisor = Supervisor(children, environment=environment, on_ready=self.said.append)
        self.thread = threading.Thread(
            target=lambda: self.ended.append(self.supervisor.run(self.stop))
        )
        self.thread.start()

    def end(self) -> int:
        self.stop.set()
        self.thread.join(timeout=40)
        return self.ended[0]


@pytest.fixture
def run(environment: Mapping[str, str]) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(*children: ChildSpec) -> Run:
        runs.append(Run(environment, *children))
        return runs[-1]

    yield start
    for one in runs:
        one.end()


def pids(folder: Path, what: str = "started") -> set[int]:
    return {int(path.name.partition("-")[2]) for path in folder.glob(f"{what}-*")}


def test_it_says_once_when_all_are_ready_and_stops_them_in_order(
    run: Callable[..., Run], tmp_path: Path, until: Callable[..., object]
) -> None:
    node = run(child(READY, tmp_path), child(READY, tmp_path))
    until(lambda: node.said)
    assert node.said == [["here I am", "here I am"]]
    assert node.end() == 0
    assert pids(tmp_path, "stopped") == pids(tmp_path)
    assert len(pids(tmp_path)) == 2


def test_a_child_that_crashes_is_started_again(
    run: Callable[..., Run],
    tmp_path: Path,
    until: Callable[..., object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = run(child(READY, tmp_path))
    until(lambda: node.said)
    [first] = pids(tmp_path)
    os.kill(first, signal.SIGKILL)
    until(lambda: len(pids(tmp_path)) == 2)
    assert "'child'" in caplog.text
    assert "ended with signal 9; starting it again in 1 s" in caplog.text
    assert node.said == [["here I am"]]


def test_an_essential_child_that_cannot_start_ends_the_node(
    run: Callable[..., Run], tmp_path: Path
) -> None:
    node = run(child(BROKEN, tmp_path, essential=True), child(READY, tmp_path))
    node.thread.join(timeout=40)
    assert node.ended == [1]
    assert not any(psutil.pid_exists(pid) for pid in pids(tmp_path))


def test_any_other_child_is_tried_for_ever(
    run: Callable[..., Run], tmp_path: Path, until: Callable[..., object]
) -> None:
    node = run(child(BROKEN, tmp_path), child(READY, tmp_path))
    until(lambda: node.supervisor._children[0].failures >= 3)
    assert node.said == []
    assert node.ended == []
    assert node.end() == 0


def test_a_child_does_not_outlive_a_supervisor_that_is_killed(
    environment: Mapping[str, str], tmp_path: Path, until: Callable[..., object]
) -> None:
    # Arrange: a supervisor as a process of its own
    code = textwrap.dedent("""
        import os, sys, threading
        from server.nodes.supervisor import ChildSpec, Supervisor
        spec = ChildSpec("child", (sys.executable, "-c", sys.argv[1], sys.argv[2]))
        Supervisor([spec], environment=os.environ, on_ready=print).run(threading.Event())
    """)
    parent = subprocess.Popen(
        [sys.executable, "-c", code, STUBBORN, str(tmp_path)], env=environment
    )
    until(lambda: pids(tmp_path))
    [orphan] = pids(tmp_path)
    process = psutil.Process(orphan)

    # Act
    parent.kill()
    parent.wait()

    # Assert
    psutil.wait_procs([process], timeout=10)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_the_supervisor_loads_neither_models_nor_the_dicom_edge(
    environment: Mapping[str, str],
) -> None:
    code = (
        "import sys, server.nodes.supervisor, server.nodes.lifecycle, server.nodes.postgres;"
        "print(sorted({'torch', 'pynetdicom', 'highdicom', 'dbos'} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[]"


def test_a_node_is_a_listener_workers_and_an_api() -> None:
    children = node_children(["site.toml"], ("0", "1"))
    assert [one.command[4:] for one in children] == [
        ("listen", "--config", "site.toml"),
        ("work", "--config", "site.toml"),
        ("work", "--config", "site.toml"),
        ("api", "--config", "site.toml"),
    ]
    assert [one.essential for one in children] == [True, False, False, False]


def test_a_child_is_given_what_it_alone_is_given(
    run: Callable[..., Run], until: Callable[..., object], tmp_path: Path
) -> None:
    code = READY.replace('"here I am"', 'os.environ["CUDA_VISIBLE_DEVICES"]')
    specs = [
        replace(child(code, tmp_path), environment=(("CUDA_VISIBLE_DEVICES", gpu),))
        for gpu in ("GPU-a", "GPU-b")
    ]

    running = run(*specs)

    until(lambda: running.said)
    assert list(running.said[0]) == ["GPU-a", "GPU-b"]


def test_waiting_between_starts_grows_and_has_a_limit(tmp_path: Path) -> None:
    # Arrange: a clock of our own, a child that ends at once
    now_s = [0.0]
    supervisor = Supervisor(
        [child(BROKEN, tmp_path)], environment={}, on_ready=lambda _: None, clock=lambda: now_s[0]
    )
    tended = supervisor._children[0]
    waits = []

    # Act
    for _ in range(7):
        supervisor._tend(tended)
        assert tended.process is not None
        tended.process.wait()
        supervisor._tend(tended)
        waits.append(tended.start_at - now_s[0])
        now_s[0] = tended.start_at

    # Assert
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
