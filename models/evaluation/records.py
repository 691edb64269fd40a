"""One line a (case, target, method): what is left durably of an evaluation, and all that its
figures, its report and a later comparison are made of.

A line is on disk before the next target begins, so an interrupted run goes on after its last whole
line. Each process has a file of its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.turn_masks import TurnMasks
from agent.values import TargetStatus
from models.errors import EvaluationFailed
from models.evaluation.metrics import Quality

VERSION = 1
_FILE = re.compile(r"targets-(\d{5})-of-(\d{5})\.jsonl")


@dataclass(frozen=True)
class Clicks:
    """What an ideal user's prompts gave: `dice`, `iou` and `nsd` (None without a spacing) after
    each of them, in order. `box` says that the first was a box.
    """

    dice: tuple[float, ...]
    iou: tuple[float, ...]
    nsd: tuple[float, ...] | None = None
    box: bool = False


@dataclass(frozen=True)
class PicturedSlice:
    """The slice to show of a target: its zero-based index on the case's own first axis, and the
    result's outline there, packed as agent.turn_masks does.
    """

    slice_index: int
    digest: str
    packed: str

    @classmethod
    def of(cls, slice_index: int, mask: NDArray[np.bool_]) -> PicturedSlice:
        """A mask (rows, columns) bool on a slice."""
        masks = TurnMasks.of({slice_index: mask})
        return cls(slice_index, masks.digest, base64.b64encode(masks.packed).decode("ascii"))

    def mask(self) -> NDArray[np.bool_]:
        """The mask (rows, columns) bool; ValueError for what is damaged."""
        packed = base64.b64decode(self.packed)
        return TurnMasks(self.digest, packed).unpacked()[self.slice_index]


@dataclass(frozen=True)
class TargetRecord:
    """What a method made of a target of a case.

    `present` says the truth, `answered` whether the method drew a voxel. `quality` is None where
    the method draws no whole object. `by_turn` is the Dice after 1, 2, … turns on each slice, the
    last value kept where it stopped earlier. `confidence` is None where there is none, and `faults`
    say what was no number. `truth_digest` tells truths apart.
    """

    case_id: str
    patient: str
    dataset: str
    split: str
    modality: str
    depth: int
    target: str
    structure: str | None
    method: str
    present: bool
    truth_digest: str
    status: TargetStatus
    answered: bool = False
    reason: str = ""
    quality: Quality | None = None
    tolerance_mm: float | None = None
    confidence: float | None = None
    turns: int = 0
    by_turn: tuple[float, ...] = ()
    clicks: Clicks | None = None
    seconds: float = 0.0
    encoder_passes: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    faults: tuple[str, ...] = ()
    picture: PicturedSlice | None = None
    version: int = field(default=VERSION)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """(dataset, case, target, method): what a line is the only one of."""
        return (self.dataset, self.case_id, self.target, self.method)

    @property
    def shown_structure(self) -> str:
        """The structure's key as words, or the target's own."""
        return (self.structure or self.target).replace("_", " ")

    @property
    def failed(self) -> bool:
        """Whether the work on it failed."""
        return self.status is TargetStatus.FAILED

    @property
    def unanswered(self) -> bool:
        """Whether it failed or was left uncertain; such a target scores 0, whatever the truth."""
        return self.status in (TargetStatus.FAILED, TargetStatus.UNCERTAIN)

    @property
    def answered_present(self) -> bool:
        """The answer to "is it there?"; no answer is the wrong one."""
        return not self.present if self.unanswered else self.answered


def truth_digest(voxels: NDArray[np.bool_]) -> str:
    """A digest of a truth (z, y, x) bool: shape and voxels."""
    digest = hashlib.blake2b(str(voxels.shape).encode(), digest_size=12)
    digest.update(np.packbits(voxels).tobytes())
    return digest.hexdigest()


def to_line(record: TargetRecord) -> str:
    """A record as one line of JSON."""
    return json.dumps(asdict(record), allow_nan=False)


def from_line(line: str) -> TargetRecord:
    """The inverse of `to_line`; ValueError, TypeError or KeyError for another version or shape."""
    content: dict[str, Any] = json.loads(line)
    if content["version"] != VERSION:
        raise ValueError(f"version {content['version']}")
    quality, clicks, picture = content["quality"], content["clicks"], content["picture"]
    content["status"] = TargetStatus(content["status"])
    content["quality"] = None if quality is None else Quality(**quality)
    content["clicks"] = None if clicks is None else Clicks(**_tuples(clicks))
    content["picture"] = None if picture is None else PicturedSlice(**picture)
    return TargetRecord(**_tuples(content))


def _tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in content.items()}


@dataclass(frozen=True)
class Shard:
    """Part `number` (from 1) of `count` parts of a run: every `count`-th case."""

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(f"there is no part {self.number} of {self.count}")

    def holds(self, index: int) -> bool:
        """Whether the case with this zero-based index is in this part."""
        return index % self.count == self.number - 1

    def file(self, folder: Path) -> Path:
        """Where its lines are."""
        return folder / f"targets-{self.number:05d}-of-{self.count:05d}.jsonl"

    def end_file(self, folder: Path) -> Path:
        """Where it says that it has ended, with what it was given and could not read."""
        return self.file(folder).with_suffix(".end.json")


def append(path: Path, records: Iterable[TargetRecord]) -> None:
    """Add lines to a file; they are on disk when this returns."""
    lines = "".join(f"{to_line(record)}\n" for record in records)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(lines)
        stream.flush()
        os.fsync(stream.fileno())


def cut_torn_line(path: Path) -> None:
    """Remove what an interrupted process left after the last whole line."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole != len(content):
        with path.open("r+b") as stream:
            stream.truncate(whole)
            os.fsync(stream.fileno())


def read_records(folder: Path) -> list[TargetRecord]:
    """All lines of a run's folder, of all its parts, by data set and case, those of a case as they
    were written; a torn last line is left out. EvaluationFailed for a line that cannot be read.

    What failed and was tried again is there once, as the last attempt left it, and an answer of
    any part stands before a failure. The order, and with it every figure, is the same whether a
    run was broken off or not, and in however many parts it was.
    """
    records: dict[tuple[str, str, str, str], TargetRecord] = {}
    for path in sorted(folder.glob("targets-*.jsonl")):
        for number, line in _whole_lines(path):
            try:
                record = from_line(line)
            except (ValueError, TypeError, KeyError) as fault:
                raise EvaluationFailed(
                    f"{path}, line {number} cannot be read ({fault}): move the folder away and "
                    "evaluate anew"
                ) from fault
            earlier = records.get(record.key)
            if earlier is None or earlier.failed or not record.failed:
                records[record.key] = record
    return sorted(records.values(), key=lambda record: (record.dataset, record.case_id))


def parts_missing(folder: Path) -> list[str]:
    """The parts ("2 of 4") that have begun or must exist beside those that have, and not ended."""
    shards = [
        Shard(int(match[1]), int(match[2]))
        for path in folder.glob("targets-*.jsonl")
        if (match := _FILE.fullmatch(path.name))
    ]
    counts = {shard.count for shard in shards}
    if Shard().end_file(folder).exists():  # one process has been through all of them
        return []
    return [
        f"{number} of {count}"
        for count in sorted(counts)
        for number in range(1, count + 1)
        if not Shard(number, count).end_file(folder).exists()
    ]


def _whole_lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if line.endswith("\n") and line.strip():
                yield number, line
