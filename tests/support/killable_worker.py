"""A worker process that kills itself, with SIGKILL, at one named point, once.

    python killable_worker.py DATABASE_URL FOLDER

FOLDER/kill-at names the point; the file is gone when it has struck. At the point that
FOLDER/wait-at names it says so in FOLDER/waiting and waits for that file to go. FOLDER/stop ends
the process in good order.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from server.fakes import FakeStages, FolderDestination
from server.work.delivery import RetryPolicy
from server.work.worker import Worker


def main() -> None:
    url, folder = sys.argv[1], Path(sys.argv[2])
    order, barrier = folder / "kill-at", folder / "wait-at"

    def strike(point: str) -> None:
        if order.is_file() and order.read_text() == point:
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        while barrier.is_file() and barrier.read_text() == point:
            (folder / "waiting").touch()
            time.sleep(0.05)

    for name in ("work", "pacs"):
        (folder / name).mkdir(exist_ok=True)
    worker = Worker(
        url,
        FakeStages(folder / "work", strike),
        {"pacs": FolderDestination("pacs", folder / "pacs", strike)},
        RetryPolicy(5, delay_s=0.1, maximum_delay_s=0.5),
    )
    worker.start()
    (folder / f"ready-{os.getpid()}").touch()
    while not (folder / "stop").exists():
        time.sleep(0.05)
    worker.stop(grace_s=0)
    os._exit(0)


if __name__ == "__main__":
    main()
