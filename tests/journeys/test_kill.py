"""`kill -9` at every step, and start again: finished once, one SEG, no turn twice, an audit trail
that adds up.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.trace import turn_from_record, turn_record
from agent.turns import Turn
from agent.values import Target
from dicom_node.values import InstanceHeader, StoredInstance
from server.errors import RecordUnavailable
from server.fakes import FolderDestination
from server.nodes.postgres import EmbeddedPostgres
from server.pipeline import Pipeline
from server.record.database.engine import Sessions, open_engine
from server.record.database.jobs import DbosJobs
from server.record.database.migrate import upgrade
from server.record.record import Record
from server.record.states import REQUEST_TRANSITIONS
from server.record.stored_studies import StoredStudyReader
from server.rules.catalogue import load_catalogue
from server.rules.routing import Rules
from server.study.stage_order import StudyRun
from server.study.turn_mask_file import TURN_MASKS
from server.study.workfolder import WorkFolder
from server.values import ENDED_STATES, Assignment, RequestState
from tests.support import phantoms
from tests.support.killable_worker import parts_of

STUDY = "1.2.826.0.1.3680043.8.498.77"
LIMIT_S = 90.0
LOADING_LIMIT_S = 300.0  # of a worker that loads the real pipeline
TARGETS = ["liver", "spleen"]


class OneStudy:
    """An inbox that holds three slices of one study."""

    def counted_studies(self) -> Iterator[tuple[str, int]]:
        yield STUDY, 3

    def count_files(self, study_instance_uid: str) -> int:
        return 3

    def instances(self, study_instance_uid: str) -> list[StoredInstance]:
        series = f"{STUDY}.1"
        return [
            StoredInstance(Path(f"/inbox/{n}"), STUDY, series, f"{series}.{n}", "1.2.3", "ab")
            for n in range(3)
        ]

    def conflicts(self, study_instance_uid: str) -> list[StoredInstance]:
        return []


def read_header(path: Path) -> InstanceHeader:
    series = f"{STUDY}.1"
    uid = f"{series}.{path.name}"
    return InstanceHeader(path, STUDY, series, uid, "1.2.3", "1.2.840.10008.1.2.1", modality="CT")


@contextmanager
def opened_record(url: str) -> Iterator[Record]:
    engine, jobs = open_engine(url), DbosJobs(url)
    rules = Rules(load_catalogue(), ("pacs",))
    yield Record(Sessions(engine), jobs, rules, StoredStudyReader(OneStudy(), read_header))
    jobs.close()
    engine.dispose()


@contextmanager
def worker_process(url: str, folder: Path, repository: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that is gone after the block."""
    process = subprocess.Popen(
        [
            sys.executable,
            str(Path(__file__).parents[1] / "support" / "killable_worker.py"),
            url,
            str(folder),
        ],
        cwd=repository,
        env=os.environ | {"PYTHONPATH": str(repository)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def record(database_url: str) -> Iterator[Record]:
    with opened_record(database_url) as record:
        yield record


Start = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def start_worker(database_url: str, tmp_path: Path, repository: Path) -> Iterator[Start]:
    """Starts worker processes that share a folder; all are gone after the test."""
    with ExitStack() as held:
        yield lambda: held.enter_context(worker_process(database_url, tmp_path, repository))


def wait_for(answer: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not answer():
        if time.monotonic() > deadline:
            pytest.fail(f"nothing came of it within {limit_s:.0f} s")
        time.sleep(0.05)


def is_done(record: Record, request_id: str) -> Callable[[], bool]:
    return lambda: record.request(request_id).state == RequestState.DONE


def assert_finished_once(record: Record, request_id: str, folder: Path) -> None:
    """The oracle: what must hold however often and wherever the work was killed."""
    view = record.request(request_id)
    assert view.state == RequestState.DONE
    seg, sr = view.results
    destination = FolderDestination("pacs", folder / "pacs")
    assert destination.stored("SEG") == [seg.sop_instance_uid]
    assert destination.stored("SR") == [sr.sop_instance_uid]
    turns = [(t.target_index, t.slice_index, t.turn_index) for t in record.turns(request_id)]
    assert turns == [(0, 1, 0), (0, 1, 1), (1, 1, 0), (1, 1, 1)]
    assert [target.turns for target in view.targets] == [2, 2]
    trail = [line for line in record.audit() if line.request_id == request_id]
    assert [line.event for line in trail] == [
        "request.queued",
        "request.selected",
        "request.segmenting",
        "target.segmented",
        "target.segmented",
        "request.writing",
        "request.sending",
        "delivery.delivered",
        "request.done",
    ]
    states = [line for line in trail if line.event.startswith("request.")]
    for earlier, later in pairwise(states):
        assert earlier.after == later.before
        assert (
            RequestState(later.after or "") in REQUEST_TRANSITIONS[RequestState(later.before or "")]
        )


POINTS = [
    "select",
    "outline 1",
    "follow",
    "segment 0",
    "segment 0 turn 0",  # a turn is on record, its step is not
    "segment 0 turn 1",
    "segment 1 turn 0",  # a whole target is behind it
    "write",
    "written",  # files are there, the record does not know
    "discard",  # the record knows, the step has not ended
    "send",
    "stored",  # the archive has it, the record does not know
]


@pytest.mark.slow
@pytest.mark.parametrize("point", ["segment 1 turn 0", "discard", "stored"])
def test_killed_once_and_started_again(
    record: Record, start_worker: Start, tmp_path: Path, point: str
) -> None:
    # Arrange
    record.complete(STUDY, actor="test")
    request_id = record.submit(STUDY, ["liver", "spleen"], actor="test").id
    (tmp_path / "kill-at").write_text(point)

    # Act: it dies there, and a new one is started
    assert start_worker().wait(timeout=LIMIT_S) == -signal.SIGKILL
    assert not (tmp_path / "kill-at").exists()
    start_worker()
    wait_for(is_done(record, request_id))

    # Assert
    assert_finished_once(record, request_id, tmp_path)


@pytest.mark.slow
def test_killed_at_every_step_of_one_request(
    record: Record, start_worker: Start, tmp_path: Path
) -> None:
    record.complete(STUDY, actor="test")
    request_id = record.submit(STUDY, ["liver", "spleen"], actor="test").id
    for point in POINTS:
        (tmp_path / "kill-at").write_text(point)
        assert start_worker().wait(timeout=LIMIT_S) == -signal.SIGKILL
    start_worker()
    wait_for(is_done(record, request_id))
    assert_finished_once(record, request_id, tmp_path)


@dataclass(frozen=True)
class Finished:
    """What a request left: its `turns` by (target, slice, turn), the bytes of their masks, and the
    masks of its targets.
    """

    turns: dict[tuple[int, int, int], Turn]
    masks: bytes
    targets: list[NDArray[np.bool_]]


def untimed(turn: Turn) -> Turn:
    return replace(turn, policy_s=0.0, segmenter_s=0.0)


def without_a_kill(folder: Path) -> Finished:
    """The same work in this process, as if nothing had happened."""
    turns: dict[tuple[int, int, int], Turn] = {}

    def keep(index: int, turn: Turn) -> None:
        turns[(index, turn.slice_index, turn.index)] = untimed(turn)

    targets = tuple(Target(name, name) for name in TARGETS)
    StudyRun(Pipeline(**parts_of(folder)), Assignment("calm", STUDY, 1, None, targets), keep).run()
    return Finished(turns, *left_in(folder / "work" / "calm"))


def left_in(folder: Path) -> tuple[bytes, list[NDArray[np.bool_]]]:
    masks = [WorkFolder(folder).load_mask(index).whole() for index in range(len(TARGETS))]
    return (folder / TURN_MASKS).read_bytes(), masks


@pytest.mark.slow
def test_killed_among_the_masks_of_turns(
    record: Record, start_worker: Start, tmp_path: Path
) -> None:
    # Arrange: the same study worked on in peace tells what has to come out, and where to strike
    phantoms.torso_ct(tmp_path / "series", shape=(12, 64, 64))
    (tmp_path / "work").mkdir()
    calm = without_a_kill(tmp_path)
    drew = [place for place, turn in calm.turns.items() if turn.masks is not None]
    points = [
        f"mask {' '.join(map(str, drew[1]))}",  # the mask is kept, its row is not
        f"row {' '.join(map(str, drew[-1]))}",  # the row is there, its step has not ended
    ]
    record.complete(STUDY, actor="test")
    request_id = record.submit(STUDY, TARGETS, actor="test").id

    # Act: it dies at each of them, and another worker is started
    for point in points:
        (tmp_path / "kill-at").write_text(point)
        assert start_worker().wait(timeout=LOADING_LIMIT_S) == -signal.SIGKILL
        assert (tmp_path / "work" / request_id / TURN_MASKS).stat().st_size > 0
    start_worker()
    wait_for(is_done(record, request_id), LOADING_LIMIT_S)

    # Assert: no turn and no mask twice, none missing, and all of them as without a kill
    rows = [
        ((row.target_index, row.slice_index, row.turn_index), untimed(turn_from_record(row.turn)))
        for row in record.turns(request_id)
    ]
    assert len(rows) == len(dict(rows))
    assert {place: turn_record(turn) for place, turn in rows} == {
        place: turn_record(turn) for place, turn in calm.turns.items()
    }
    masks, targets = left_in(tmp_path / "work" / request_id)
    assert masks == calm.masks
    assert all(map(np.array_equal, targets, calm.targets))


@pytest.mark.slow
def test_a_second_worker_takes_over(record: Record, start_worker: Start, tmp_path: Path) -> None:
    # Arrange: two workers live
    first, second = start_worker(), start_worker()
    wait_for(lambda: len(list(tmp_path.glob("ready-*"))) == 2)
    record.complete(STUDY, actor="test")
    (tmp_path / "kill-at").write_text("segment 1 turn 0")

    # Act: whichever works on it dies
    request_id = record.submit(STUDY, ["liver", "spleen"], actor="test").id
    wait_for(lambda: first.poll() is not None or second.poll() is not None)
    wait_for(is_done(record, request_id))

    # Assert: the other one lives and has done it
    assert sorted([first.poll() is None, second.poll() is None]) == [False, True]
    assert_finished_once(record, request_id, tmp_path)
    assert "worker.gone" in [line.event for line in record.audit()]


@pytest.mark.slow
def test_a_request_that_always_kills_its_worker_fails_and_frees_the_queue(
    record: Record, start_worker: Start, tmp_path: Path
) -> None:
    # Arrange
    record.complete(STUDY, actor="test")
    poisonous = record.submit(STUDY, ["liver"], actor="test").id

    # Act: it takes five workers with it; another request waits for the sixth, who may take either
    # first
    for _ in range(5):
        (tmp_path / "kill-at").write_text("segment 0")
        assert start_worker().wait(timeout=LIMIT_S) == -signal.SIGKILL
    harmless = record.submit(STUDY, ["spleen"], actor="test").id
    start_worker()
    wait_for(is_done(record, harmless))
    wait_for(lambda: record.request(poisonous).state in ENDED_STATES)

    # Assert
    view = record.request(poisonous)
    assert view.state == RequestState.FAILED
    assert view.error is not None
    assert "begun 5 times" in view.error


@pytest.mark.slow
def test_the_database_stops_and_starts_again_in_the_middle(
    tmp_path: Path, repository: Path
) -> None:
    # Arrange: a server of its own, and a worker in the middle of a target
    postgres = EmbeddedPostgres(Path(tempfile.mkdtemp(prefix="segnode-pg-")))
    url = postgres.start()
    upgrade(open_engine(url))
    with opened_record(url) as record, worker_process(url, tmp_path, repository) as worker:
        (tmp_path / "wait-at").write_text("segment 0 turn 0")
        record.complete(STUDY, actor="test")
        request_id = record.submit(STUDY, ["liver", "spleen"], actor="test").id
        for following in ("written", "stored", "nowhere"):
            wait_for((tmp_path / "waiting").is_file)

            # Act: the server stops; the worker goes on and finds nobody; the server starts. The
            # next point is named while the worker cannot reach it, and "waiting" goes once the
            # worker has left this one.
            postgres._server.stop()
            with pytest.raises(RecordUnavailable):
                record.request(request_id)
            (tmp_path / "wait-at").write_text(following)
            time.sleep(0.5)
            (tmp_path / "waiting").unlink()
            postgres.start()
        wait_for(is_done(record, request_id))

        # Assert: the same process has done it all
        assert worker.poll() is None
        assert_finished_once(record, request_id, tmp_path)
    postgres.stop()
