"""Fixtures every room's tests share: real data when it is there, and synthetic DICOM when it is
not.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import tempfile
import threading
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest

from models.runtime.cores import usable_cores
from tests.support import mirrors, peers

ROOT = Path(__file__).resolve().parent.parent
if "PYTEST_XDIST_WORKER" in os.environ:
    # beside other processes, before a numeric library is loaded: one thread each, none that spins
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    } | os.environ


# how long an example takes is the machine's affair, and processes share it here
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process a core that this machine or container grants, each with 3 GiB of memory."""
    return max(1, min(usable_cores(), psutil.virtual_memory().total // (3 * 2**30)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a parallel run the files with slow tests come first, so that none is left for the end."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])  # stable: files and their tests keep their order


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """With --durations: the seconds of each room's tests and its folders', processes added up."""
    if terminalreporter.config.getoption("durations") is None:
        return
    seconds: defaultdict[str, float] = defaultdict(float)
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            folders = report.nodeid.split("::")[0].split("/")[1:-1]
            for depth in range(1, len(folders) + 1)[:2]:
                seconds["/".join(folders[:depth])] += report.duration
    terminalreporter.section("seconds per room")
    for folder in sorted(seconds):
        terminalreporter.write_line(f"{seconds[folder]:8.1f} s  {folder}")


@pytest.fixture(autouse=True)
def own_log_records() -> Iterator[None]:
    """Commands that run in this process set how log records are made, for good: each test begins
    with Python's own way.
    """
    factory = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(factory)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real CT and MR with masks and odd DICOM, never committed: SEGNODE_SHARED_DATA or
    ../shared/data.
    """
    folder = Path(os.environ.get("SEGNODE_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set SEGNODE_SHARED_DATA)")
    return folder


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[mirrors.Mirror]:
    """A mirror of a hub on a real socket, tests/support/mirrors.py: fill it, ask for `url`, look at
    `asked`.
    """
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = mirrors.MirrorServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server.mirror
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def peer() -> Callable[[str], str]:
    """The path of an independent program; skips in one line where it is missing, fails if peers are
    required.
    """

    def find(program: str) -> str:
        path = peers.find(program)
        if path is not None:
            return path
        missing = f"peer {program} is missing: run make peers"
        if os.environ.get("SEGNODE_REQUIRE_PEERS") == "1":
            pytest.fail(missing)
        return pytest.skip(missing)

    return find


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real embedded PostgreSQL for the whole run, and in it a database "template" with every
    table made.
    """
    from server.nodes.postgres import EmbeddedPostgres
    from server.record.database.engine import open_engine
    from server.record.database.migrate import upgrade

    # short, and not under pytest's folders: a socket's path may have 107 bytes
    folder = Path(tempfile.mkdtemp(prefix="segnode-pg-"))
    server = EmbeddedPostgres(folder)
    url = server.start()
    _administer(url, "CREATE DATABASE template")
    engine = open_engine(url.replace("/segnode?", "/template?"))
    upgrade(engine)
    engine.dispose()
    yield url
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """A fresh database with every table, gone after the test."""
    name = f"test_{uuid.uuid4().hex}"
    _administer(postgres_url, f"CREATE DATABASE {name} TEMPLATE template")
    yield postgres_url.replace("/segnode?", f"/{name}?")
    _administer(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


def _administer(url: str, statement: str) -> None:
    from sqlalchemy import create_engine, text

    from server.record.database.engine import record_url

    engine = create_engine(record_url(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
