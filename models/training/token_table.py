"""Trajectories in tokens, in a file on disk that training reads from: memory stays flat, however
many there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow
from datasets import Dataset

from agent.errors import ChatFailed
from models.errors import UnusableData
from models.training.learnt_tokens import LearntSequence, learnt_sequences
from models.training.planner_tokens import PlannerTokens
from models.training.running.chat_roles import require_roles
from models.training.trajectory_files import Trajectories, Trajectory

NOT_LEARNT = -100
"""The label of a token that is read and not learnt, as torch's cross entropy leaves it out."""

_SCHEMA = pyarrow.schema(
    [
        ("trajectory_id", pyarrow.string()),
        ("patient", pyarrow.string()),
        ("split", pyarrow.string()),
        ("input_ids", pyarrow.list_(pyarrow.int32())),
        ("labels", pyarrow.list_(pyarrow.int32())),
        ("images", pyarrow.list_(pyarrow.string())),
    ]
)
_ROWS_AT_ONCE = 64


def write_table(file: Path, trajectories: Trajectories, planner: PlannerTokens) -> None:
    """Write every sequence to be learnt to `file`; what is too long for the model, or cannot be
    used, joins `trajectories.left_out`.

    UnusableData when nothing is left; UnusableModel for a chat template without the roles.
    """
    require_roles(planner.tokens, planner.name)
    written = 0
    with pyarrow.OSFile(str(file), "wb") as sink, pyarrow.ipc.new_stream(sink, _SCHEMA) as stream:
        rows: list[dict[str, object]] = []
        for trajectory in trajectories:
            rows += _rows(trajectory, trajectories, planner)
            if len(rows) >= _ROWS_AT_ONCE:
                written += _write(stream, rows)
                rows = []
        written += _write(stream, rows)
    if not written:
        reasons = [f"{name}: {reason}" for name, reason in trajectories.left_out.items()]
        told = f"; the first is {reasons[0]}" if reasons else ""
        raise UnusableData(
            trajectories.folder,
            f"none of its {len(reasons)} trajectories can be learnt from{told}",
        )


def open_table(file: Path) -> Dataset:
    """The table in `file`, read as it is needed."""
    return Dataset.from_file(str(file))


def _rows(
    trajectory: Trajectory, trajectories: Trajectories, planner: PlannerTokens
) -> list[dict[str, object]]:
    try:
        sequences = learnt_sequences(
            planner.tokens, trajectory.conversation(), trajectory.learnt, planner.ends
        )
        _require_short(sequences, planner)
    except (ChatFailed, ValueError) as error:
        trajectories.left_out[trajectory.trajectory_id] = str(error)
        return []
    return [_row(trajectory, sequence) for sequence in sequences]


def _require_short(sequences: Iterable[LearntSequence], planner: PlannerTokens) -> None:
    # cut, it would lose the end of a picture or the very reply that it is there to teach
    longest = max(map(len, sequences))
    if planner.context_tokens is not None and longest > planner.context_tokens:
        raise ValueError(
            f"it has {longest} tokens, more than the {planner.context_tokens} that "
            f"{planner.name} can read"
        )


def _row(trajectory: Trajectory, sequence: LearntSequence) -> dict[str, object]:
    labels = sequence.ids.copy()
    labels[~sequence.learnt] = NOT_LEARNT
    return {
        "trajectory_id": trajectory.trajectory_id,
        "patient": trajectory.patient,
        "split": trajectory.split,
        "input_ids": sequence.ids,
        "labels": labels,
        "images": [str(file) for file in trajectory.files[: sequence.pictures]],
    }


def _write(stream: pyarrow.ipc.RecordBatchStreamWriter, rows: list[dict[str, object]]) -> int:
    if rows:
        stream.write_batch(pyarrow.RecordBatch.from_pylist(rows, _SCHEMA))
    return len(rows)
