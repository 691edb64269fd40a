"""The API's process: it answers, sleeps while nobody asks, and stops at once when it is told to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import psutil
import pytest

from server.http import serving

LIMIT_S = 60.0
SCRIPT = """
import sys
from server.http import serving

serving.TICK_S = float(sys.argv[2])

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

serving.serve(app, "127.0.0.1", int(sys.argv[1]), lambda: print("ready", flush=True))
print("cleaned up", flush=True)
"""


@contextmanager
def api(tick_s: float = serving.TICK_S) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that serves an application of one empty answer, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(port), str(tick_s)],
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process, port
    finally:
        process.kill()
        process.communicate()


def asked(port: int) -> HTTPResponse:
    """The answer to a GET."""
    connection = HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    connection.request("GET", "/")
    response = connection.getresponse()
    connection.close()
    return response


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_longest_sleep(sent: signal.Signals) -> None:
    with api(tick_s=10 * LIMIT_S) as (process, port):
        assert asked(port).status == 204

        process.send_signal(sent)
        output, _ = process.communicate(timeout=LIMIT_S)

    assert output == "cleaned up\n"
    assert process.returncode == 0


def test_answers_carry_the_time() -> None:
    with api(tick_s=0.05) as (_, port):
        first = asked(port)
        time.sleep(1.5)
        later = asked(port)

    moments = [parsedate_to_datetime(answer.headers["date"]) for answer in (first, later)]
    assert moments[1] > moments[0]


def test_it_sleeps_while_nobody_asks() -> None:
    """Its loop gives up the processor once a tick, and not ten times as often."""
    with api() as (process, port):
        asked(port)
        before = psutil.Process(process.pid).num_ctx_switches().voluntary
        began_s = time.monotonic()
        time.sleep(5.0)
        after = psutil.Process(process.pid).num_ctx_switches().voluntary
        elapsed_s = time.monotonic() - began_s

    assert after - before < 5 * elapsed_s / serving.TICK_S
