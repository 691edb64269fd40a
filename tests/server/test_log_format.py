"""`[log] format = "json"`: every process of a node writes an object a line, to its last words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE

from server.settings import load_settings
from tests.support.ports import free_port

LIMIT_S = 120.0


def command(folder: Path, *words: str, **variables: str) -> subprocess.Popen[str]:
    """`segnode` with a storage of its own and a database that is away, its log in JSON."""
    environment = {key: text for key, text in os.environ.items() if not key.startswith("SEGNODE_")}
    environment |= {
        "SEGNODE_LOG__FORMAT": "json",
        "SEGNODE_NODE__HOST": "127.0.0.1",
        "SEGNODE_STORAGE__DIR": str(folder / "var"),
        "SEGNODE_DATABASE__URL": "postgresql://nobody@127.0.0.1:1/none",
        **variables,
    }
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "server.cli", *words],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def objects(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines()]


def test_a_listener_and_its_receivers_write_objects(tmp_path: Path) -> None:
    # Arrange
    port = free_port()
    process = command(tmp_path, "listen", SEGNODE_NODE__PORT=str(port), SEGNODE_NODE__PROCESSES="1")
    assert process.stderr is not None
    lines = [process.stderr.readline()]
    while "listening as" not in lines[-1]:
        lines.append(process.stderr.readline())

    # Act: an association that only echoes
    entity = AE("CT1")
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", port, ae_title="SEGNODE")
    assert association.send_c_echo().Status == 0x0000
    association.release()
    while " closed: " not in lines[-1]:
        lines.append(process.stderr.readline())
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=LIMIT_S)

    # Assert
    told = objects("".join(lines) + rest)
    (end,) = [line for line in told if " closed: " in line["message"]]
    assert end["part"] == "receive"
    assert end["process"] != process.pid
    assert " of CT1 at 127.0.0.1 closed: 0 stored, 0 refused in " in end["message"]
    assert {line["part"] for line in told} == {"listen", "receive"}


def test_the_last_words_of_a_process_are_an_object_too(tmp_path: Path) -> None:
    process = command(tmp_path, "serve", SEGNODE_AGENT__POLICY="gpt")

    _, log = process.communicate(timeout=LIMIT_S)

    (line,) = objects(log)
    assert process.returncode == 1
    assert (line["level"], line["part"]) == ("CRITICAL", "serve")
    assert line["message"].startswith("there is no policy called 'gpt'")


def test_a_command_for_people_speaks_to_people(tmp_path: Path) -> None:
    process = command(tmp_path, "models", "verify", "nothing")

    _, log = process.communicate(timeout=LIMIT_S)

    assert log.startswith("segnode: ")


DBOS_LOGS = """
import logging, sys
from server.cli import main
sys.argv = ["segnode", "models", "verify", "nothing"]
main()
from dbos._logger import init_logger
init_logger()
logging.getLogger("dbos").warning("a line\\nand another")
"""


def test_dbos_has_no_format_of_its_own(tmp_path: Path) -> None:
    """It is what runs the workflows, and makes a handler when it finds none."""
    done = subprocess.run(
        [sys.executable, "-c", DBOS_LOGS],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )

    assert done.stderr.splitlines()[-1].endswith("WARNING dbos: a line\\nand another")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_formats_there_are(log_format: str) -> None:
    assert load_settings((), {"SEGNODE_LOG__FORMAT": log_format}).log.format == log_format
