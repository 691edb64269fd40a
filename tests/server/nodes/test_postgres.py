"""The embedded PostgreSQL: started, adopted, shared, left, and never somebody else's business."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import make_url, text

from server.errors import ConfigurationError
from server.nodes.postgres import EmbeddedPostgres
from server.record.database.engine import answering, open_engine


@pytest.fixture
def storage() -> Iterator[Path]:
    """A short folder: a socket's path may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="segnode-pg-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
        kill_server(Path(folder))


def server_process(storage: Path) -> psutil.Process | None:
    """The running server, if any."""
    for pid_file in storage.rglob("postmaster.pid"):
        pid = int(pid_file.read_text().splitlines()[0])
        if psutil.pid_exists(pid) and psutil.Process(pid).name() == "postgres":
            return psutil.Process(pid)
    return None


def kill_server(storage: Path) -> None:
    process = server_process(storage)
    if process is not None:
        process.send_signal(signal.SIGINT)  # fast shutdown
        psutil.wait_procs([process], timeout=20)


def ask(url: str) -> object:
    engine = open_engine(url)
    try:
        with answering(), engine.connect() as connection:
            return connection.scalar(text("SELECT current_database()"))
    finally:
        engine.dispose()


def test_it_starts_keeps_its_data_private_and_stops(storage: Path) -> None:
    server = EmbeddedPostgres(storage)
    url = server.start()
    assert ask(url) == "segnode"
    assert server.start() == url  # once more is harmless
    assert stat.S_IMODE((storage / "postgres").stat().st_mode) == 0o700
    assert stat.S_IMODE((storage / "postgres.lock").stat().st_mode) == 0o600
    server.stop()
    assert server_process(storage) is None
    server.stop()  # once more is harmless


def test_the_last_to_leave_stops_it(storage: Path) -> None:
    first, second = EmbeddedPostgres(storage), EmbeddedPostgres(storage)
    url = first.start()
    assert second.start() == url
    first.stop()
    assert ask(url) == "segnode"
    second.stop()
    assert server_process(storage) is None


def test_it_outlives_a_sigkill_and_is_adopted(storage: Path, repository: Path) -> None:
    # Arrange: a process that starts it and is killed
    code = (
        "import sys, time; from pathlib import Path; from server.nodes.postgres import "
        "EmbeddedPostgres;"
        "EmbeddedPostgres(Path(sys.argv[1])).start(); print('up', flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(storage)],
        stdout=subprocess.PIPE,
        cwd=repository,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(repository)},
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"up\n"
    running = server_process(storage)
    os.killpg(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()

    # Act
    adopted = EmbeddedPostgres(storage)
    url = adopted.start()

    # Assert: the same server; and the killed owner does not keep it running
    assert running is not None
    assert server_process(storage) == running
    assert ask(url) == "segnode"
    adopted.stop()
    assert server_process(storage) is None


def test_data_of_another_version_is_refused_with_what_to_do(storage: Path) -> None:
    (storage / "postgres").mkdir()
    (storage / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(ConfigurationError, match="PostgreSQL 16, this node brings 18: move it"):
        EmbeddedPostgres(storage).start()


def test_a_pid_file_whose_number_is_another_program_now(storage: Path) -> None:
    # Arrange: what a power cut leaves, with our own number in it
    server = EmbeddedPostgres(storage)
    server.start()
    pid_file = storage / "postgres" / "postmaster.pid"
    left = pid_file.read_text().splitlines()
    server.stop()
    pid_file.write_text("\n".join([str(os.getpid()), *left[1:]]) + "\n")

    # Act
    url = EmbeddedPostgres(storage).start()

    # Assert
    assert ask(url) == "segnode"


def test_a_long_path_gets_its_socket_elsewhere(storage: Path) -> None:
    deep = storage / ("a-long-name-of-a-folder-" * 3) / ("and-another-one-" * 4)
    deep.mkdir(parents=True)
    server = EmbeddedPostgres(deep)
    url = server.start()
    assert ask(url) == "segnode"
    folder = Path(str(make_url(url).query["host"]))
    assert not folder.is_relative_to(storage)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    server.stop()


def test_it_is_started_again_when_it_has_been_gone_for_a_while(storage: Path) -> None:
    # Arrange
    server = EmbeddedPostgres(storage, revive_after_s=0.0)
    url = server.start()
    before = server_process(storage)
    assert before is not None
    server.keep_up()
    assert server_process(storage) == before

    # Act
    kill_server(storage)
    server.keep_up()

    # Assert
    assert ask(url) == "segnode"
    server.stop()
