"""What a node takes while nothing is to be done: processor and memory, process by process.

    python tests/benchmarks/bench_idle.py [--requests 0 20000] [--seconds 30]

Starts `segnode serve` with the configured models and the embedded database, fills its record with
so many finished requests, waits until it has settled, and adds up what its processes take, those of
PostgreSQL included. Memory is the proportional set size: pages that processes share count once.
Where there are requests, it then queues some of them again, one after the other, and times how long
the sleeping worker takes from the commit to the begin of the first stage. Writes
bench-out/idle.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from sqlalchemy import select

from server.nodes.lifecycle import own_python
from server.nodes.postgres import EmbeddedPostgres
from server.record import requests
from server.record.database.engine import Sessions, open_engine
from server.record.database.jobs import DbosJobs
from server.record.tables import RequestRow
from server.work.queues import Pace
from tests.benchmarks import bench_record

GOAL_PERCENT = 1.0
SETTLING_S, START_S = 20.0, 600.0
WAKE_UPS, WAKE_LIMIT_S, LOOK_S = 5, 60.0, 0.002
Figures = dict[str, dict[str, float]]


def main() -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, nargs="+", default=[0, 20_000])
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    tables = {}
    for count in arguments.requests:
        with (
            tempfile.TemporaryDirectory(prefix="segnode-bench-") as folder,
            node(Path(folder)) as supervisor,
        ):
            if count:
                fill(Path(folder), count)
            time.sleep(SETTLING_S)
            tables[count] = measured(supervisor, Path(folder), arguments.seconds)
            report(count, tables[count])
            if count:
                wakes = wake_ups_ms(Path(folder))
                tables[count]["wake-up"] = {
                    "median_ms": statistics.median(wakes),
                    "worst_ms": max(wakes),
                }
                report_wake_ups(wakes)
    out = Path("bench-out")
    out.mkdir(exist_ok=True)
    (out / "idle.json").write_text(json.dumps(tables, indent=1), encoding="utf-8")


@contextmanager
def node(storage: Path) -> Iterator[psutil.Process]:
    """A node that is ready, while the block runs: its supervisor."""
    environment = os.environ | {
        "SEGNODE_STORAGE__DIR": str(storage),
        "SEGNODE_NODE__HOST": "127.0.0.1",
        "SEGNODE_NODE__PORT": str(free_port()),
        "SEGNODE_HTTP__PORT": str(free_port()),
    }
    with (storage / "log").open("wb") as log:
        process = subprocess.Popen(
            own_python("-m", "server.cli", "serve"), env=environment, stderr=log
        )
        try:
            wait_until_ready(storage / "log", process)
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def wait_until_ready(log: Path, process: subprocess.Popen[bytes]) -> None:
    """Until the supervisor says so."""
    deadline = time.monotonic() + START_S
    while "segnode is ready" not in log.read_text(encoding="utf-8"):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"the node does not start:\n{log.read_text(encoding='utf-8')}")
        time.sleep(0.2)


def free_port() -> int:
    """A TCP port on the loopback that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def fill(storage: Path, requests: int) -> None:
    """So many finished requests with an instance each, in the node's running database."""
    url = EmbeddedPostgres(storage).running_url()
    assert url is not None
    engine = open_engine(url)
    bench_record.INSTANCES_A_STUDY = 1
    bench_record.fill(Sessions(engine), requests)
    engine.dispose()


def wake_ups_ms(storage: Path) -> list[float]:
    """Milliseconds from a request's commit to the begin of its first stage, several times; the
    worker sleeps each time.
    """
    url = EmbeddedPostgres(storage).running_url()
    assert url is not None
    engine, jobs = open_engine(url), DbosJobs(url)
    sessions = Sessions(engine)
    failed = select(RequestRow.id).where(RequestRow.state == "FAILED").limit(WAKE_UPS)
    with sessions.begin() as session:
        request_ids = list(session.scalars(failed))
    milliseconds = []
    for request_id in request_ids:
        time.sleep(2 * Pace().linger_s)
        with sessions.begin() as session:
            row = requests.locked(session, request_id)
            requests.begin_anew(session, jobs, row, actor="bench", reason="wake-up")
        queued_s = time.monotonic()
        wait_until_begun(sessions, request_id)
        milliseconds.append((time.monotonic() - queued_s) * 1000)
    jobs.close()
    engine.dispose()
    return milliseconds


def wait_until_begun(sessions: Sessions, request_id: str) -> None:
    """Until a worker has begun a stage of the request."""
    begun = select(RequestRow.stage_attempts).where(RequestRow.id == request_id)
    deadline_s = time.monotonic() + WAKE_LIMIT_S
    while True:
        with sessions.begin() as session:
            if session.scalar(begun):
                return
        if time.monotonic() > deadline_s:
            sys.exit(f"no worker took {request_id} within {WAKE_LIMIT_S:g} s")
        time.sleep(LOOK_S)


def report_wake_ups(milliseconds: list[float]) -> None:
    """Print what they took."""
    sys.stdout.write(
        f"request queued to first stage begun: {statistics.median(milliseconds):.0f} ms median, "
        f"{max(milliseconds):.0f} ms at worst of {len(milliseconds)}\n"
    )
    sys.stdout.flush()


def measured(supervisor: psutil.Process, storage: Path, seconds: float) -> Figures:
    """Percent of a core and megabytes of each kind of process, over so many seconds."""
    processes = processes_of(supervisor, storage)
    before = {process: cpu_s(process) for process in processes}
    began_s = time.monotonic()
    time.sleep(seconds)
    elapsed_s = time.monotonic() - began_s
    figures: Figures = {}
    for process, kind in processes.items():
        if not process.is_running():
            continue
        row = figures.setdefault(kind, {"processes": 0, "percent": 0.0, "pss_mb": 0.0})
        row["processes"] += 1
        row["percent"] += (cpu_s(process) - before[process]) / elapsed_s * 100
        row["pss_mb"] += process.memory_full_info().pss / 1e6
    return figures


def processes_of(supervisor: psutil.Process, storage: Path) -> dict[psutil.Process, str]:
    """Each process of the node and its kind."""
    postmaster_id = int((storage / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    postmaster = psutil.Process(postmaster_id)
    database = [postmaster, *postmaster.children(recursive=True)]
    node_processes = [supervisor, *supervisor.children(recursive=True)]
    kinds = {process: kind_of(process) for process in node_processes}
    return kinds | dict.fromkeys(database, "postgres")


def kind_of(process: psutil.Process) -> str:
    """What a process is, by its command line."""
    words = process.cmdline()
    if "dicom_node.receive.process" in words:
        return "receivers"
    if "server.cli" in words:
        return words[words.index("server.cli") + 1]
    return "postgres" if process.name() == "postgres" else "headers"


def cpu_s(process: psutil.Process) -> float:
    """Processor seconds of a process until now."""
    times = process.cpu_times()
    return times.user + times.system


def report(requests: int, figures: Figures) -> None:
    """Print a table."""
    lines = [f"idle, {requests:,} finished requests{'processes':>12}{'of a core':>12}{'PSS':>12}"]
    for kind, row in figures.items():
        lines.append(
            f"{kind:<31}{row['processes']:>9.0f}{row['percent']:>10.2f} %{row['pss_mb']:>9.0f} MB"
        )
    percent = sum(row["percent"] for row in figures.values())
    pss_mb = sum(row["pss_mb"] for row in figures.values())
    verdict = "met" if percent < GOAL_PERCENT else "missed"
    lines.append(f"{'together':<31}{'':>9}{percent:>10.2f} %{pss_mb:>9.0f} MB")
    lines.append(f"goal: under {GOAL_PERCENT:g} % of a core, {verdict}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
