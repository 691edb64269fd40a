"""One shard of a folder of trajectories, written so that a run that was killed goes on.

    trajectories-00000-of-00004.jsonl   a line a trajectory, written through to the disk one by one
    progress-00000-of-00004.jsonl       a line a case that is done: what was kept, dropped, failed
    images/<hash>.png, truths/<hash>.png  each once, there before the line that names it

A case is in the file whole or not at all: what a killed run left of its last case is cut off, and
the case is made again, to the same bytes. A case that failed has no line; with `resume` it is tried
again, and `arrange` then brings its lines to where an unbroken run has them.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import Any

from PIL import Image

from agent.language.chat import Picture
from agent.training.trajectory import Dropped, Trajectory, TrajectoryMaker
from models.errors import ExportFailed
from models.runtime.cache import write_atomically
from models.training.exports.records import picture_name, trajectory_record, truth_picture

_PNG_LEVEL = 1  # of zlib: four times as fast as the usual 6, and a fifth larger


@dataclass(frozen=True)
class CaseDone:
    """What came of one case: trajectories `kept`, `dropped` by reason, `turns` of those kept;
    `failed` why the case as a whole gave none, "" where it did not fail. `end_bytes` is where the
    shard's file ends after it.
    """

    case: str
    end_bytes: int
    kept: int = 0
    turns: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: str = ""


class TrajectoryShard:
    """Shard number `index` (zero-based) of `count` in `folder`, open for one process at a time.

    With `resume` it goes on after the cases that are done; without, ExportFailed where there are
    some. ExportFailed, with what to do, for whatever cannot be written.
    """

    def __init__(self, folder: Path, index: int, count: int, *, resume: bool = False) -> None:
        ending = f"{index:05}-of-{count:05}.jsonl"
        self.folder, self._index, self._count = folder, index, count
        self.path, self._journal_path = (
            folder / f"trajectories-{ending}",
            folder / f"progress-{ending}",
        )
        self._pictures: set[str] = set()
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
        try:
            self._lock()
            rows = read_journal(self._journal_path)
            if resume:
                rows = [row for row in rows if not row.failed]
            self.done = {row.case: row for row in rows}
            self._begin_after(rows, resume=resume)
        except BaseException:
            self._file.close()
            raise

    def has(self, case: str) -> bool:
        """Whether a case is this shard's; that depends on its name alone, so that it is the same
        whatever else the data set holds.
        """
        digest = hashlib.blake2b(case.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self._count == self._index

    def add(
        self, case: str, outcomes: Iterable[Trajectory | Dropped], maker: TrajectoryMaker
    ) -> CaseDone:
        """Write all trajectories of a case, then that it is done. Whatever `outcomes` raises leaves
        nothing of the case in the file.
        """
        start, kept, turns, dropped = self._file.tell(), 0, 0, Counter[str]()
        try:
            for outcome in outcomes:
                if isinstance(outcome, Dropped):
                    dropped[outcome.reason] += 1
                    continue
                self._write(outcome, maker)
                kept, turns = kept + 1, turns + len(outcome.turns)
        except BaseException:
            self._cut(start)
            raise
        return self._end(CaseDone(case, self._file.tell(), kept, turns, dict(dropped)))

    def fail(self, case: str, reason: str) -> CaseDone:
        """Record that a case gave nothing, and why."""
        return self._end(CaseDone(case, self._file.tell(), failed=reason))

    def arrange(self, cases: Iterable[str]) -> None:
        """Bring lines and journal into the order of `cases`, as a run that was not broken off has
        them; cases that are not among them stay behind those.
        """
        listed = [name for name in cases if name in self.done]
        order = list(dict.fromkeys([*listed, *self.done]))
        if order == list(self.done):
            return
        with self._writing():
            content, end = self.path.read_bytes(), 0
            lines = _lines_by_case(content)
            rows = []
            for name in order:
                end += sum(map(len, lines.get(name, ())))
                rows.append(replace(self.done[name], end_bytes=end))
            # whatever of the two is there after a crash, both hold the same cases and end alike
            self._write_journal(rows)
            write_atomically(self.path, b"".join(b"".join(lines.get(n, ())) for n in order))
            self._file.close()
            self._file = self.path.open("ab", buffering=0)
            self._lock()
        self.done = {row.case: row for row in rows}

    def close(self) -> None:
        """Let go of the shard; another process may open it."""
        self._file.close()

    def _write(self, trajectory: Trajectory, maker: TrajectoryMaker) -> None:
        record = trajectory_record(trajectory, maker)
        line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
        with self._writing():
            for picture in trajectory.conversation.pictures:
                self._keep(picture_name(picture), picture, "RGB")
            truth = truth_picture(trajectory)
            if truth is not None:
                self._keep(record["truth"], truth, "L")
            _append(self._file, line)

    def _keep(self, name: str, picture: Picture, mode: str) -> None:
        path = self.folder / name
        if name in self._pictures or path.is_file():
            return
        content = io.BytesIO()
        image = Image.fromarray(picture.pixels).convert(mode)
        image.save(content, "PNG", compress_level=_PNG_LEVEL)
        write_atomically(path, content.getvalue())
        self._pictures.add(name)

    def _end(self, row: CaseDone) -> CaseDone:
        with self._writing(), self._journal_path.open("ab", buffering=0) as journal:
            _append(journal, json.dumps(asdict(row), ensure_ascii=False) + "\n")
        self.done[row.case] = row
        return row

    def _begin_after(self, rows: list[CaseDone], *, resume: bool) -> None:
        """Cut both files to what is whole."""
        if rows and not resume:
            raise ExportFailed(
                self.folder,
                f"{len(rows)} cases of this shard are done: go on with --resume, or name another "
                "folder",
            )
        end = rows[-1].end_bytes if rows else 0
        if self.path.stat().st_size < end:
            raise ExportFailed(
                self.path,
                "it is shorter than what was written: it was changed; remove it and its progress "
                "file to make it anew",
            )
        with self._writing():
            self._cut(end)
            if self._journal_path.exists():
                self._write_journal(rows)

    def _write_journal(self, rows: Iterable[CaseDone]) -> None:
        lines = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
        write_atomically(self._journal_path, lines.encode())

    def _cut(self, end: int) -> None:
        self._file.truncate(end)
        self._file.seek(end)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExportFailed(self.path, "another process writes this shard") from None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            raise ExportFailed(
                Path(fault.filename or self.path),
                f"it cannot be written ({fault.strerror or fault}); what is written is whole: make "
                "room and go on with --resume",
            ) from fault


def read_journal(path: Path) -> list[CaseDone]:
    """The cases that are done, in order; a last line that is not whole is left out. ExportFailed
    for a file that is no such journal.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith(b"\n")]
    try:
        return [CaseDone(**_object(line)) for line in whole]
    except (ValueError, TypeError) as fault:
        raise ExportFailed(path, f"it is damaged ({fault}); remove it with its shard") from fault


def _object(line: bytes) -> dict[str, Any]:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise TypeError("a line is no object")
    return row


def _lines_by_case(content: bytes) -> dict[str, list[bytes]]:
    """The lines of a shard by the case they are of."""
    lines: dict[str, list[bytes]] = {}
    for line in content.splitlines(keepends=True):
        row = json.loads(line)
        lines.setdefault(f"{row['dataset']}:{row['case_id']}", []).append(line)
    return lines


def _append(file: FileIO, line: str) -> None:
    """Write a line through to the disk. Nothing is held back in a buffer, so that what a full disk
    refused is not written later.
    """
    rest = memoryview(line.encode())
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())
