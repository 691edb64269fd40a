"""A real node for the demo: `segnode serve` as a child process with a configuration of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from server.commands.client import NodeClient
from server.demo.archive import AE_TITLE as ARCHIVE_AE_TITLE
from server.errors import NodeUnreachable
from server.nodes.lifecycle import own_python, safe_environment

START_LIMIT_S = 120.0
STOP_LIMIT_S = 30.0

CONFIGURATION = """
[node]
host = "127.0.0.1"
port = {dicom_port}

[http]
port = {http_port}

[storage]
dir = "{storage}"

[study]
quiet_s = 2

[[destinations]]
name = "pacs"
ae_title = "{archive_ae_title}"
host = "127.0.0.1"
port = {archive_port}

[[routes]]
name = "abdomen"
when = {{ Modality = "CT" }}
targets = [{targets}]
destinations = ["pacs"]
"""


@dataclass(frozen=True)
class RunningNode:
    """A node that is ready: where its listener is, a client of its API, its own configuration and
    its `storage.dir`.
    """

    dicom_port: int
    client: NodeClient
    configuration: Path
    storage: Path


@contextmanager
def running_node(
    folder: Path, archive_port: int, targets: Sequence[str], more_settings: str = ""
) -> Iterator[RunningNode]:
    """Run a node that routes every CT to `targets` and back to the archive.

    Its log is `folder`/node.log.

    `more_settings` is TOML of further sections. Raises NodeUnreachable with the end of the log when
    it does not become ready.
    """
    dicom_port, http_port = _free_ports(2)
    storage = folder / "node"
    configuration = folder / "node.toml"
    configuration.write_text(
        CONFIGURATION.format(
            dicom_port=dicom_port,
            http_port=http_port,
            storage=storage,
            archive_ae_title=ARCHIVE_AE_TITLE,
            archive_port=archive_port,
            targets=", ".join(f'"{target}"' for target in targets),
        )
        + more_settings,
        encoding="utf-8",
    )
    log = folder / "node.log"
    with log.open("wb") as stream:
        child = subprocess.Popen(  # noqa: S603 - our own command
            own_python("-m", "server.cli", "serve", "--config", str(configuration)),
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=safe_environment(
                {k: v for k, v in os.environ.items() if not k.startswith("SEGNODE_")}
            ),
        )
    try:
        url = f"http://127.0.0.1:{http_port}"
        _wait_until_ready(child, url, log)
        token = (storage / "token").read_text(encoding="utf-8").strip()
        yield RunningNode(dicom_port, NodeClient(url, token), configuration, storage)
    finally:
        _stop(child)


def _free_ports(count: int) -> list[int]:
    # all are held at once, so that they differ
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def _wait_until_ready(child: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and child.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/api/v1/health/ready", timeout=2):  # noqa: S310 - our own node
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)  # the node says ready over HTTP only; there is nothing to wait on
    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise NodeUnreachable(f"the demo's node did not become ready; its log ends:\n{tail}")


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
