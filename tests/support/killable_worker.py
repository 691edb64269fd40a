"""A worker process that kills itself, with SIGKILL, at one named point, once.

    python killable_worker.py DATABASE_URL FOLDER

Where there is a series in FOLDER/series, the real pipeline works on it, with models that need no
weights; its points are "mask T S N", when what turn N on slice S of target T drew is kept and its
row is not written, and "row T S N", right after that. Elsewhere the stages are server.fakes'.

FOLDER/kill-at names the point; the file is gone when it has struck. At the point that
FOLDER/wait-at names it says so in FOLDER/waiting and waits for that file to go. FOLDER/stop ends
the process in good order.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from agent.limits import Limits
from agent.turns import Turn
from dicom_node.series.header import read_header
from models.loaded_models import open_workbench
from server.fakes import FakeStages, FolderDestination
from server.pipeline import Pipeline, read_series
from server.ports import Stages
from server.rules.catalogue import load_catalogue
from server.study.workfolder import EncodingStore
from server.values import Assignment, TargetSummary
from server.work.delivery import RetryPolicy
from server.work.worker import Worker


class StruckPipeline(Pipeline):
    """A pipeline whose every turn has a point before its row and one after it."""

    def __init__(self, strike: Callable[[str], None], **parts: Any) -> None:
        super().__init__(**parts)
        self._strike = strike

    def outline(self, assignment: Assignment, index: int, on_turn: Callable[[Turn], None]) -> None:
        super().outline(assignment, index, partial(self._struck, index, on_turn))

    def follow(self, assignment: Assignment, on_turn: Callable[[int, Turn], None]) -> None:
        super().follow(
            assignment, lambda index, turn: self._struck(index, partial(on_turn, index), turn)
        )

    def finish(
        self, assignment: Assignment, index: int, on_turn: Callable[[Turn], None]
    ) -> TargetSummary:
        return super().finish(assignment, index, partial(self._struck, index, on_turn))

    def _struck(self, index: int, on_turn: Callable[[Turn], None], turn: Turn) -> None:
        place = f"{index} {turn.slice_index} {turn.index}"
        self._strike(f"mask {place}")
        on_turn(turn)
        self._strike(f"row {place}")


def parts_of(folder: Path) -> dict[str, Any]:
    """What makes a Pipeline over the series in `folder`, with models that need no weights."""
    models = open_workbench("threshold", "fake")
    series = sorted((folder / "series").iterdir())
    return {
        "load": lambda _: read_series([read_header(path) for path in series]),
        "folder": lambda request_id: folder / "work" / request_id,
        "encodings": EncodingStore(folder / "encodings", limit_bytes=10**9),
        "workbench": lambda _: models,
        "catalogue": load_catalogue(),
        "limits": Limits(draw_step_mm=10.0),  # every second slice of 5 mm is drawn
    }


def stages_in(folder: Path, strike: Callable[[str], None]) -> Stages:
    """The stages that work in `folder`."""
    if (folder / "series").is_dir():
        return StruckPipeline(strike, **parts_of(folder))
    return FakeStages(folder / "work", strike)


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
        stages_in(folder, strike),
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
