"""What a process loads: nobody pays for models or the DICOM edge who does not use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODELS = {"torch", "torchvision", "monai", "transformers", "onnxruntime", "timm"}
EDGE = {"pynetdicom", "highdicom", "pydicom"}
SERVING = {"fastapi", "sqlalchemy", "dbos", "uvicorn"}

# the interpreter's own 60, argparse, logging and the rooms' errors
MOST_MODULES_OF_HELP = 190
COUNT = """
import json, sys
from server import cli
try:
    cli.main(["--help"])
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)))
"""

# runs a command in this process, stops it as soon as it is up, and tells what has been loaded
REPORT = """
import json, os, signal, socket, sys, threading, time
from server import cli

def up():
    if what == "listen":
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
    import psutil
    # libraries start programs of their own while they are imported, before signals are handled
    return any("server.cli" in command_of(child) for child in psutil.Process().children())

def command_of(process):
    import psutil
    try:
        return process.cmdline()
    except psutil.Error:
        return []

def stop_when_up():
    while not up():
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)

what, port = sys.argv[1], int(sys.argv[2])
if what in ("listen", "serve"):
    threading.Thread(target=stop_when_up, daemon=True).start()
try:
    cli.main(sys.argv[3:])
except SystemExit:
    pass
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def loaded(folder: Path, what: str, port: int, *arguments: str) -> set[str]:
    """The top-level modules in a process that ran `segnode` with `arguments`; nothing listens at
    its database.
    """
    environment = {key: text for key, text in os.environ.items() if not key.startswith("SEGNODE_")}
    environment |= {
        "SEGNODE_NODE__HOST": "127.0.0.1",
        "SEGNODE_NODE__PORT": str(port),
        "SEGNODE_HTTP__PORT": "0",
        "SEGNODE_STORAGE__DIR": str(folder),
        "SEGNODE_DATABASE__URL": "postgresql://nobody@127.0.0.1:1/none",
    }
    answer = subprocess.run(
        [sys.executable, "-c", REPORT, what, str(port), *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return set(json.loads(answer.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments", [("--help",), ("serve", "--help"), ("segment", "--help"), ("models", "list")]
)
def test_help_loads_nothing_heavy(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert loaded(tmp_path, "help", 0, *arguments) & (MODELS | EDGE | SERVING) == set()


def test_help_loads_few_modules(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-P", "-c", COUNT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    names = set(json.loads(answer.stdout.splitlines()[-1]))
    assert names & (MODELS | EDGE | SERVING | {"numpy", "scipy", "pydantic", "psutil"}) == set()
    assert len(names) <= MOST_MODULES_OF_HELP, sorted(names)


def test_a_listener_never_loads_models(tmp_path: Path, free_port: int) -> None:
    found = loaded(tmp_path, "listen", free_port, "listen")

    assert "dicom_node" in found
    assert (
        found & (MODELS | {"pynetdicom", "highdicom"}) == set()
    )  # what serves peers runs beside it


def test_the_supervisor_loads_neither_models_nor_the_edge(tmp_path: Path, free_port: int) -> None:
    found = loaded(tmp_path, "serve", free_port, "serve")

    assert "server" in found
    assert found & (MODELS | EDGE) == set()


def test_segment_anything_is_loaded_only_where_it_draws() -> None:
    """It is asked for by name in the card of SAM's checkpoints; other segmenters do without."""
    script = (
        "import sys, models.shipped, models.segmenters.litemedsam, "
        "models.segmenters.sam2.architecture, models.segmenters.sam2.volume\n"
        "print([name for name in sys.modules if name.startswith('segment_anything')])\n"
        "import models.segmenters.sam.architecture\n"
        "print('segment_anything' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    )

    assert answer.stdout.split("\n")[:2] == ["[]", "True"]
