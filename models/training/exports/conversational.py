"""Trajectories as a table that TRL trains on: conversations of parts, with their pictures.

Columns `messages` (`role`, `content` of parts, `train`) and `images` (pictures, in the order of
their places). Needs the extra `segnode[train]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import ExportFailed
from models.training.exports.trajectory_folder import records

if TYPE_CHECKING:
    from datasets import Dataset


def conversational(folder: Path) -> Dataset:
    """The trajectories in `folder` as a `datasets` table; pictures are read when they are asked
    for. ExportFailed where there are none, or where the extra is not installed.
    """
    try:
        from datasets import Dataset, Features, Image, List, Value
    except ModuleNotFoundError as fault:
        raise ExportFailed(folder, "this needs more packages: install segnode[train]") from fault
    rows = [_row(record, folder) for record in records(folder)]
    if not rows:
        raise ExportFailed(folder, "there are no trajectories: make some with segnode trajectories")
    text = Value("string")
    parts = List({"type": text, "text": text})
    features = Features(
        {
            "trajectory_id": text,
            "messages": List({"role": text, "content": parts, "train": Value("bool")}),
            "images": List(Image()),
        }
    )
    return Dataset.from_list(rows, features=features)


def _row(record: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {
        "trajectory_id": record["trajectory_id"],
        "messages": [
            {
                "role": message["role"],
                "train": message["train"],
                "content": [
                    {"type": part["type"], "text": part.get("text")} for part in message["content"]
                ],
            }
            for message in record["messages"]
        ],
        "images": [str(folder / name) for name in record["images"]],
    }
