"""The processes of a node as `segnode serve` runs them: killed whole, started again, without a
database, told to stop.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydicom import dcmread

from dicom_node.send.store_files import send_files
from tests.support import phantoms
from tests.support.ports import free_port

LIMIT_S = 120.0
MODULE = (sys.executable, "-m", "server.cli")
SCRIPT = (str(Path(sys.executable).with_name("segnode")),)
pytestmark = pytest.mark.slow


def wait_for(answer: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not answer():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {LIMIT_S:.0f} s")
        time.sleep(0.1)


def logged(log: Path, line: str) -> bool:
    return line in log.read_text()


class Node:
    """A node's configuration, and the process that runs it."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder = folder
        self.dicom_port, self.http_port = free_port(), free_port()
        self.log = folder / "log"
        self._repository = repository
        self.process: subprocess.Popen[bytes] | None = None
        self.file = folder / "site.toml"
        self.file.write_text(
            f"""
            [node]
            host = "127.0.0.1"
            port = {self.dicom_port}
            [http]
            port = {self.http_port}
            [storage]
            dir = "{folder / "var"}"
            minimum_free_bytes = 0
            [study]
            quiet_s = 1
            """
        )

    def start(
        self, command: str = "serve", *, program: tuple[str, ...] = MODULE, **environment: str
    ) -> subprocess.Popen[bytes]:
        """`segnode COMMAND` in a process group of its own, its log in a file."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*program, command, "--config", str(self.file)],
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(self._repository)} | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.process

    def start_whole(self, program: tuple[str, ...] = MODULE) -> subprocess.Popen[bytes]:
        """`segnode serve`, when it says that it is ready."""
        process = self.start(program=program)
        wait_for(lambda: "segnode is ready" in self.log.read_text(), "ready")
        return process

    def answers_dicom(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.dicom_port)) == 0

    def checks(self) -> dict[str, str]:
        """What /health/ready says of each part: all "ok" with 200, a sentence with 503."""
        url = f"http://127.0.0.1:{self.http_port}/health/ready"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            told = json.load(error)  # 503, in the same words
        checks: dict[str, str] = told["checks"]
        return checks

    def send(self, files: list[Path]) -> None:
        """C-STORE files as a scanner would."""
        sent = send_files(
            files,
            calling_ae_title="SCANNER",
            ae_title="SEGNODE",
            host="127.0.0.1",
            port=self.dicom_port,
        )
        assert list(sent) == files

    def holds(self, study: str, instances: int) -> bool:
        """Whether the study is complete with so many instances."""
        url = f"http://127.0.0.1:{self.http_port}/api/v1/studies/{study}"
        token = (self.folder / "var" / "token").read_text().strip()
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                found: dict[str, Any] = json.load(answer)
        except (urllib.error.URLError, OSError):
            return False
        return found["state"] == "COMPLETE" and found["instances"] == instances

    def end(self) -> None:
        """Stop what still runs, the database included."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=60)
        for pid_file in self.folder.rglob("postmaster.pid"):
            server = int(pid_file.read_text().splitlines()[0])
            if psutil.pid_exists(server) and psutil.Process(server).name() == "postgres":
                os.kill(server, signal.SIGINT)
                psutil.wait_procs([psutil.Process(server)], timeout=20)


@pytest.fixture
def node(repository: Path) -> Iterator[Node]:
    # short: the database's socket has a limit of 107 bytes
    with tempfile.TemporaryDirectory(prefix="segnode-node-", ignore_cleanup_errors=True) as folder:
        running = Node(Path(folder), repository)
        yield running
        running.end()


@pytest.fixture
def slices(tmp_path: Path) -> list[Path]:
    """A small CT."""
    return list(phantoms.torso_ct(tmp_path / "ct", shape=(4, 32, 32)).paths)


def study_of(files: list[Path]) -> str:
    return str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)


def test_a_node_killed_whole_takes_up_what_it_had_received(node: Node, slices: list[Path]) -> None:
    # Arrange: half of a study has come when every process is killed at once
    process = node.start_whole()
    node.send(slices[:2])
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not node.answers_dicom(), "everything is dead")

    # Act
    node.start_whole()
    node.send(slices[2:])

    # Assert: whole, whether or not the first half was complete for a while
    wait_for(lambda: node.holds(study_of(slices), len(slices)), "complete")


def test_sigterm_stops_everything_cleanly(node: Node) -> None:
    process = node.start_whole()
    assert len(psutil.Process(process.pid).children()) == 3
    children = psutil.Process(process.pid).children(recursive=True)  # with the listener's receivers
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert [one for one in children if one.is_running()] == []
    assert not list((node.folder / "var" / "postgres").glob("postmaster.pid"))


def test_a_node_is_ready_only_while_listener_intake_and_worker_move(node: Node) -> None:
    # Arrange
    process = node.start_whole()
    wait_for(lambda: set(node.checks().values()) == {"ok"}, "ready")
    children = psutil.Process(process.pid).children()
    stopped = [one for one in children if {"listen", "work"} & set(one.cmdline())]
    assert len(stopped) == 2

    # Act: both stand still, which neither can say itself
    for child in stopped:
        child.suspend()
    standing = {"listener", "intake", "worker"}
    wait_for(
        lambda: {name for name, said in node.checks().items() if said != "ok"} >= standing,
        "not ready",
    )
    for child in stopped:
        child.resume()

    # Assert
    wait_for(lambda: set(node.checks().values()) == {"ok"}, "ready again")


def test_images_are_received_while_the_database_is_away(node: Node, slices: list[Path]) -> None:
    # Arrange: the listener alone, with a database that is not there
    away = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    listener = node.start("listen", SEGNODE_DATABASE__URL=away)
    wait_for(node.answers_dicom, "the listener")

    # Act: it takes them all the same; later the node has a database
    node.send(slices)
    wait_for(lambda: "wait for the record" in node.log.read_text(), "a word in the log")
    listener.send_signal(signal.SIGTERM)
    assert listener.wait(timeout=60) == 0
    node.start_whole()

    # Assert: nothing was lost
    wait_for(lambda: node.holds(study_of(slices), len(slices)), "complete")


def test_a_node_whose_port_is_taken_says_so_and_ends(node: Node) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", node.dicom_port))
        other.listen()
        assert node.start().wait(timeout=LIMIT_S) == 1
    assert f"node.port: cannot listen on 127.0.0.1:{node.dicom_port}" in node.log.read_text()


DECOY = "from pathlib import Path\nPath({marker!r}, __name__ + '.ran').touch()\n"


@pytest.mark.parametrize("command", ["serve", "check"])
def test_nothing_runs_that_lies_in_the_folder_it_is_started_in(node: Node, command: str) -> None:
    # Arrange: the rooms' names, a module of Python's own and one of a library, all of them somebody
    # else's
    marker = node.folder / "ran"
    marker.mkdir()
    for name in ("agent", "server", "dicom_node", "models", "config"):
        (node.folder / name).mkdir()
        (node.folder / name / "__init__.py").write_text(DECOY.format(marker=str(marker)))
    for name in ("json", "torch", "dbos", "sitecustomize"):
        (node.folder / f"{name}.py").write_text(DECOY.format(marker=str(marker)))

    # Act
    if command == "serve":
        node.start_whole(SCRIPT)
    else:
        node.start("check", program=SCRIPT).wait(timeout=LIMIT_S)

    # Assert
    assert [path.name for path in marker.iterdir()] == []
    assert "ok    database" in node.log.read_text() or command == "serve"


def test_the_databases_password_is_in_no_log_and_no_process(node: Node) -> None:
    # Arrange: a database that is away, its password in the site's file
    password = "Zq7-hunter"
    with node.file.open("a") as file:
        url = f"postgresql://segnode:{password}@127.0.0.1:{free_port()}/record"
        file.write(f'\n[database]\nurl = "{url}"\n')

    # Act: all three parts say that they wait for it
    process = node.start()
    for said in ("server.work.database_retry: waiting for the record", "received studies wait"):
        wait_for(partial(logged, node.log, said), said)
    processes = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    shown = " ".join(f"{one.cmdline()} {one.environ()}" for one in processes)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)

    # Assert
    assert len(processes) >= 4  # the listener has receivers of its own
    assert password not in shown
    assert password not in node.log.read_text()
