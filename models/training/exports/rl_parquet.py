"""Trajectories as MedSAM-Agent's parquet for reinforcement learning: the question with its picture
and the truth, no answer.

One row for each structure and slice, in columns of that project: `prompt` (messages with
"<image>"), `data_source`, `images` ([{bytes}], PNG), `reward_model` ({style, ground_truth:
{bytes}}, a PNG of 0 and 255 on the picture's grid), `extra_info` ({target_description, id}). Needs
pyarrow, which the extra `segnode[train]` brings.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.errors import ExportFailed
from models.training.exports.trajectory_folder import records

FILE = "rl.parquet"
_ROWS_AT_ONCE = 64  # a group of rows in memory: some 20 MB of pictures


def write_rl_parquet(folder: Path, *, least_turns: int = 1) -> int:
    """Write `rl.parquet` beside the trajectories in `folder`; how many rows it has.

    `least_turns` leaves out what took fewer turns: the paper trains on hard samples, of three to
    five. ExportFailed without pyarrow, and where no trajectory is left.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as fault:
        raise ExportFailed(folder, "this needs more packages: install segnode[train]") from fault
    path, count = folder / FILE, 0
    temporary = path.with_name(f".{path.name}.part")
    try:
        with parquet.ParquetWriter(temporary, _schema(pa)) as writer:
            for rows in _groups(_rows(folder, least_turns)):
                writer.write_table(pa.Table.from_pylist(rows, schema=_schema(pa)))
                count += len(rows)
        if not count:
            raise ExportFailed(folder, f"it has no trajectory of {least_turns} turns or more")
        _replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _schema(pa: Any) -> Any:
    text = pa.string()
    picture = pa.struct([("bytes", pa.binary())])
    return pa.schema(
        [
            ("prompt", pa.list_(pa.struct([("role", text), ("content", text)]))),
            ("data_source", text),
            ("images", pa.list_(picture)),
            ("reward_model", pa.struct([("style", text), ("ground_truth", picture)])),
            ("extra_info", pa.struct([("target_description", text), ("id", text)])),
        ]
    )


def _rows(folder: Path, least_turns: int) -> Iterator[dict[str, Any]]:
    """A row for each structure and slice that has a truth, by its first trajectory."""
    places = set()
    for record in records(folder):
        place = (record["dataset"], record["case_id"], record["target"]["text"], record["slice"])
        is_plain = record["truth"] is not None and record["kind"] != "review"
        if not is_plain or place in places or len(record["turns"]) < least_turns:
            continue
        places.add(place)
        yield _row(record, folder)


def _row(record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    first_reply = [message["role"] for message in record["messages"]].index("assistant")
    return {
        "prompt": [
            {"role": message["role"], "content": _text(message["content"])}
            for message in record["messages"][:first_reply]
        ],
        "data_source": record["dataset"],
        "images": [{"bytes": (folder / record["images"][0]).read_bytes()}],
        "reward_model": {
            "style": "rule",
            "ground_truth": {"bytes": (folder / record["truth"]).read_bytes()},
        },
        "extra_info": {
            "target_description": record["target"]["text"],
            "id": record["trajectory_id"],
        },
    }


def _text(content: list[Mapping[str, str]]) -> str:
    return "\n".join("<image>" if part["type"] == "image" else part["text"] for part in content)


def _groups(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == _ROWS_AT_ONCE:
            yield group
            group = []
    if group:
        yield group


def _replace(temporary: Path, path: Path) -> None:
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
