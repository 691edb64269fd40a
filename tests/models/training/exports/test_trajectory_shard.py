"""A shard is whole after every line: killed, full or failing, a run goes on to the same bytes."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.case import Case
from agent.errors import SegmenterFailed
from agent.fakes import FakeEncoding
from agent.training.trajectory import Dropped, Trajectory
from models.errors import ExportFailed
from models.training.exports.trajectory_shard import TrajectoryShard, read_journal
from tests.support.toy_cases import toy_cases
from tests.support.training.toy_trajectories import BoxesOnly, toy_run, write_toy_folder

SHARD, JOURNAL = "trajectories-00000-of-00001.jsonl", "progress-00000-of-00001.jsonl"


class DownFor(BoxesOnly):
    """Fails on the first `cases` images that it is shown."""

    def __init__(self, cases: int) -> None:
        self._down = cases

    def encode(self, image: NDArray[np.float32]) -> FakeEncoding:
        self._down -= 1
        if self._down >= 0:
            raise SegmenterFailed("the server is down")
        return super().encode(image)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    write_toy_folder(folder)
    return folder


def same(folder: Path, other: Path) -> bool:
    names = [sorted(p.name for p in at.glob("*/*.png")) for at in (folder, other)]
    return names[0] == names[1] and all(
        (folder / name).read_bytes() == (other / name).read_bytes() for name in (SHARD, JOURNAL)
    )


class TestGoingOn:
    def test_a_run_that_ended_early_goes_on_to_the_same_bytes(
        self, tmp_path: Path, unbroken: Path
    ) -> None:
        write_toy_folder(tmp_path, cases=toy_cases(3))

        done = write_toy_folder(tmp_path, resume=True)

        assert [row.case for row in done] == ["toy:toy-0-3", "toy:toy-0-4", "toy:toy-0-5"]
        assert same(tmp_path, unbroken)

    def test_a_case_that_is_half_written_is_made_again(
        self, tmp_path: Path, unbroken: Path
    ) -> None:
        write_toy_folder(tmp_path, cases=toy_cases(3))
        whole = (unbroken / SHARD).read_bytes()
        here = (tmp_path / SHARD).stat().st_size
        with (tmp_path / SHARD).open("ab") as file:
            file.write(whole[here : here + 3000])  # a line and a half of the next case
        with (tmp_path / JOURNAL).open("ab") as file:
            file.write(b'{"case": "toy:toy-0-3", "end_by')

        write_toy_folder(tmp_path, resume=True)

        assert same(tmp_path, unbroken)

    def test_a_run_that_was_killed_goes_on(self, tmp_path: Path, unbroken: Path) -> None:
        process = multiprocessing.get_context("fork").Process(
            target=_killed_at_third, args=(tmp_path,)
        )
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert 0 < len(read_journal(tmp_path / JOURNAL)) < 6

        write_toy_folder(tmp_path, resume=True)

        assert same(tmp_path, unbroken)

    def test_a_case_that_failed_is_tried_again_to_the_same_bytes(
        self, tmp_path: Path, unbroken: Path
    ) -> None:
        cases = toy_cases(6)
        write_toy_folder(tmp_path, toy_run(segmenter=DownFor(2)), cases)
        before = [row.failed for row in read_journal(tmp_path / JOURNAL)]

        done = write_toy_folder(tmp_path, cases=cases, resume=True)

        assert before == ["the server is down", "the server is down", "", "", "", ""]
        assert [row.case for row in done] == ["toy:toy-0-0", "toy:toy-0-1"]
        assert same(tmp_path, unbroken)

    def test_a_case_that_was_missing_comes_to_its_place(
        self, tmp_path: Path, unbroken: Path
    ) -> None:
        cases = toy_cases(6)
        write_toy_folder(tmp_path, cases=[*cases[:1], *cases[2:5]])

        write_toy_folder(tmp_path, cases=cases, resume=True)

        assert same(tmp_path, unbroken)

    def test_a_shard_that_was_arranged_is_still_this_processes(self, tmp_path: Path) -> None:
        run, shard = toy_run(), TrajectoryShard(tmp_path, 0, 1)
        one, two = toy_cases(2)
        run.work([two], shard, lambda _: None)
        run.work([one, two], shard, lambda _: None)

        with pytest.raises(ExportFailed, match="another process"):
            TrajectoryShard(tmp_path, 0, 1, resume=True)
        shard.close()
        assert [row.case for row in read_journal(tmp_path / JOURNAL)] == [
            *("toy:toy-0-0", "toy:toy-0-1"),
        ]

    def test_without_resume_what_is_there_is_not_touched(self, tmp_path: Path) -> None:
        write_toy_folder(tmp_path, cases=toy_cases(2))
        before = (tmp_path / SHARD).read_bytes()

        with pytest.raises(ExportFailed, match=r"2 cases of this shard are done: go on with --res"):
            write_toy_folder(tmp_path)

        assert (tmp_path / SHARD).read_bytes() == before

    def test_a_shard_that_was_cut_by_somebody_is_refused(self, tmp_path: Path) -> None:
        write_toy_folder(tmp_path, cases=toy_cases(2))
        (tmp_path / SHARD).write_bytes(b"")

        with pytest.raises(ExportFailed, match="shorter than what was written"):
            write_toy_folder(tmp_path, resume=True)

    def test_a_journal_that_is_no_journal_is_refused(self, tmp_path: Path) -> None:
        write_toy_folder(tmp_path, cases=toy_cases(1))
        (tmp_path / JOURNAL).write_text('["a list"]\n')

        with pytest.raises(ExportFailed, match="damaged"):
            write_toy_folder(tmp_path, resume=True)

    def test_two_processes_do_not_write_one_shard(self, tmp_path: Path) -> None:
        shard = TrajectoryShard(tmp_path, 0, 1)

        with pytest.raises(ExportFailed, match="another process"):
            TrajectoryShard(tmp_path, 0, 1, resume=True)

        shard.close()
        TrajectoryShard(tmp_path, 0, 1).close()


class TestShards:
    def test_shards_together_hold_what_one_holds(self, tmp_path: Path, unbroken: Path) -> None:
        for index in (2, 0, 1):
            write_toy_folder(tmp_path, index=index, count=3)

        lines = [path.read_text().splitlines() for path in tmp_path.glob("trajectories-*.jsonl")]

        assert len(lines) == 3
        together = sorted(line for shard in lines for line in shard)
        assert together == sorted((unbroken / SHARD).read_text().splitlines())

    def test_a_cases_shard_depends_on_its_name_alone(self, tmp_path: Path) -> None:
        shards = [TrajectoryShard(tmp_path, index, 4) for index in range(4)]
        names = [f"btcv:case-{number}" for number in range(400)]

        owners = [[shard.has(name) for shard in shards] for name in names]

        for shard in shards:
            shard.close()
        assert all(sum(row) == 1 for row in owners)
        assert all(70 < sum(column) < 130 for column in zip(*owners, strict=True))


class TestTrouble:
    def test_a_full_disk_is_said_and_what_is_written_stays_whole(
        self, tmp_path: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced = iter(range(100))

        def fsync(_: int) -> None:
            if next(synced) == 20:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fsync)
            with pytest.raises(ExportFailed, match=r"No space left .* go on with --resume"):
                write_toy_folder(tmp_path)

        write_toy_folder(tmp_path, resume=True)
        assert same(tmp_path, unbroken)

    def test_a_case_that_fails_leaves_nothing_and_is_named(self, tmp_path: Path) -> None:
        run = toy_run()
        shard = TrajectoryShard(tmp_path, 0, 1)
        outcomes = run._made(toy_cases(1)[0])

        with pytest.raises(RuntimeError, match="the encoder is gone"):
            shard.add("toy:one", _failing_after(outcomes, 2), run.maker)
        shard.fail("toy:one", "the encoder is gone")
        shard.close()

        assert (tmp_path / SHARD).read_bytes() == b""
        (row,) = read_journal(tmp_path / JOURNAL)
        assert (row.case, row.kept, row.failed) == ("toy:one", 0, "the encoder is gone")

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")

        with pytest.raises(ExportFailed, match="cannot be written"):
            TrajectoryShard(tmp_path / "file" / "out", 0, 1)


def test_a_line_names_pictures_that_are_there(unbroken: Path) -> None:
    for line in (unbroken / SHARD).read_text().splitlines():
        record = json.loads(line)
        assert all((unbroken / name).is_file() for name in (*record["images"], record["truth"]))


def _failing_after(
    outcomes: Iterator[Trajectory | Dropped], count: int
) -> Iterator[Trajectory | Dropped]:
    for _ in range(count):
        yield next(outcomes)
    raise RuntimeError("the encoder is gone")


def _killed_at_third(folder: Path) -> None:
    def cases() -> Iterator[Case]:
        for number, case in enumerate(toy_cases(6)):
            if number == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            yield case

    write_toy_folder(folder, cases=cases())
