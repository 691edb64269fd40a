"""The listener's process is killed while peers send: what was answered with success is there,
whole, and nothing half.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import split_dataset

from dicom_node.receive.inbox import Inbox
from tests.dicom_node.conftest import Sender

LISTEN = """
import sys
from pathlib import Path
from dicom_node.fakes import RecordingObserver
from dicom_node.receive.inbox import Inbox
from dicom_node.receive.listener import Listener
from dicom_node.receive.application_entity import ApplicationEntity
node = ApplicationEntity("SEGNODE", reference=sys.argv[2] == "True")
with Listener(node, "127.0.0.1", 0, Inbox(Path(sys.argv[1])), RecordingObserver()) as listener:
    sys.stdout.write(f"{listener.port}\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""


@pytest.fixture
def node(
    tmp_path: Path, repository: Path, reference: bool
) -> Iterator[Callable[[], tuple[Any, int]]]:
    """Starts a listener in a process of its own on the same inbox.

    Gives the process and its port.
    """
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [sys.executable, "-c", LISTEN, str(tmp_path / "inbox"), str(reference)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=repository,
        )
        started.append(process)
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("killed_after", [1, 20])
def test_what_was_acknowledged_survives_a_kill(
    tmp_path: Path,
    node: Callable[[], tuple[Any, int]],
    sending: Callable[..., AbstractContextManager[Sender]],
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
    killed_after: int,
) -> None:
    study = ct().StudyInstanceUID
    acknowledged: dict[str, bytes] = {}
    enough = threading.Event()
    process, port = node()

    def send_until_the_end() -> None:
        with sending(port) as sender:
            while process.poll() is None:
                dataset = ct(StudyInstanceUID=study, PixelData=os.urandom(1 << 18))
                response = sender.store(data := as_sent(dataset), dataset.SOPInstanceUID)
                if response is None or response.Status != 0x0000:
                    return
                acknowledged[dataset.SOPInstanceUID] = data
                if len(acknowledged) >= killed_after:
                    enough.set()

    threads = [threading.Thread(target=send_until_the_end) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert enough.wait(30)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for thread in threads:
        thread.join()
    node()  # starting again sweeps

    inbox = Inbox(tmp_path / "inbox")
    stored = {instance.sop_instance_uid: instance for instance in inbox.instances(study)}
    assert len(acknowledged) >= killed_after
    assert set(acknowledged) <= set(stored)
    assert {i.path for i in stored.values()} == set((tmp_path / "inbox").rglob("*.dcm"))
    for instance in stored.values():
        _, offset = split_dataset(instance.path)
        data = instance.path.read_bytes()[offset:]
        assert sha256(data).hexdigest() == instance.sha256
        assert data == acknowledged.get(instance.sop_instance_uid, data)
    assert list((tmp_path / "inbox" / ".incoming").iterdir()) == []
