"""Trajectories for LLaMA-Factory: two data sets in sharegpt form, in OpenAI's words.

    llama-factory/dataset_info.json   both, as that program lists its data sets
    llama-factory/whole.json          trajectories without a wrong action, one sample each
    llama-factory/turns.json          one sample for each reply to be learnt, ending with it

LLaMA-Factory learns every assistant message of a sample, or with `mask_history: true` the last one
only. So `segnode_whole` leaves out trajectories with a wrong action, and `segnode_turns`, **which
needs `mask_history: true`**, holds every right reply of all of them exactly once: that is what our
own training learns. Use one of the two. Pictures are named relative to the folder of the
trajectories, which is that program's media directory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from models.errors import ExportFailed
from models.runtime.cache import write_atomically
from models.training.exports.trajectory_folder import records

FOLDER = "llama-factory"
WHOLE, TURNS = "segnode_whole", "segnode_turns"
_PLACE = "<image>"
_COLUMNS = {"messages": "messages", "images": "images"}
_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
}


def write_llama_factory(folder: Path) -> dict[str, int]:
    """Write both data sets of the trajectories in `folder`; how many samples each has.

    ExportFailed where the text of a message holds "<image>": that program takes it for a picture.
    """
    whole = list(_whole(records(folder)))
    turns = list(_turns(records(folder)))
    files = {"whole.json": whole, "turns.json": turns, "dataset_info.json": dataset_info()}
    for name, content in files.items():
        text = json.dumps(content, ensure_ascii=False, indent=1)
        write_atomically(folder / FOLDER / name, f"{text}\n".encode())
    return {WHOLE: len(whole), TURNS: len(turns)}


def dataset_info() -> dict[str, Any]:
    """What LLaMA-Factory's `dataset_info.json` says of both data sets."""
    names = {WHOLE: "whole.json", TURNS: "turns.json"}
    return {
        name: {
            "file_name": file,
            "formatting": "sharegpt",
            "columns": dict(_COLUMNS),
            "tags": dict(_TAGS),
        }
        for name, file in names.items()
    }


def _whole(trajectories: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for record in trajectories:
        replies = [message for message in record["messages"] if message["role"] == "assistant"]
        if all(message["train"] for message in replies):
            yield _sample(record, len(record["messages"]))


def _turns(trajectories: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for record in trajectories:
        for index, message in enumerate(record["messages"]):
            if message["train"]:
                yield _sample(record, index + 1)


def _sample(record: Mapping[str, Any], end: int) -> dict[str, Any]:
    """The first `end` messages with their pictures."""
    messages = record["messages"][:end]
    pictures = sum(part["type"] == "image" for message in messages for part in message["content"])
    return {
        "messages": [
            {"role": message["role"], "content": _text(message["content"], record)}
            for message in messages
        ],
        "images": list(record["images"][:pictures]),
    }


def _text(content: Iterable[Mapping[str, str]], record: Mapping[str, Any]) -> str:
    parts = []
    for part in content:
        if part["type"] == "image":
            parts.append(_PLACE)
        elif _PLACE in part["text"]:
            raise ExportFailed(
                Path(record["trajectory_id"]),
                f'its text holds "{_PLACE}", which stands for a picture there',
            )
        else:
            parts.append(part["text"])
    return "\n".join(parts)
