"""What LLaMA-Factory asks of a sharegpt data set with pictures, checked by its own rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.errors import ExportFailed
from models.training.exports.llama_factory import write_llama_factory
from models.training.exports.trajectory_folder import records
from tests.support.training.toy_trajectories import toy_run, write_toy_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trajectories")
    write_toy_folder(folder, toy_run(per_case=3))
    write_llama_factory(folder)
    return folder


def samples(folder: Path, name: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads((folder / "llama-factory" / name).read_text())
    return listed


@pytest.mark.parametrize("name", ["whole.json", "turns.json"])
def test_places_equal_pictures_and_roles_alternate(folder: Path, name: str) -> None:
    assert samples(folder, name)
    for sample in samples(folder, name):
        text = "".join(message["content"] for message in sample["messages"])
        assert text.count("<image>") == len(sample["images"]) > 0
        assert all((folder / image).is_file() for image in sample["images"])
        roles = [message["role"] for message in sample["messages"]]
        assert roles[0] == "system"
        assert roles[1::2] == ["user"] * len(roles[1::2])
        assert roles[2::2] == ["assistant"] * len(roles[2::2])
        assert roles[-1] == "assistant"


def test_turns_hold_every_right_reply_once_and_end_with_it(folder: Path) -> None:
    learnt = [
        message["content"][0]["text"]
        for record in records(folder)
        for message in record["messages"]
        if message["train"]
    ]

    last = [sample["messages"][-1]["content"] for sample in samples(folder, "turns.json")]

    assert last == learnt


def test_whole_trajectories_hold_no_wrong_action(folder: Path) -> None:
    right = [
        record["images"]
        for record in records(folder)
        if all(m["train"] for m in record["messages"] if m["role"] == "assistant")
    ]

    assert [sample["images"] for sample in samples(folder, "whole.json")] == right
    assert len(right) < len(list(records(folder)))


def test_the_entry_names_columns_and_tags_as_that_program_does(folder: Path) -> None:
    info = json.loads((folder / "llama-factory" / "dataset_info.json").read_text())

    assert info["segnode_turns"] == {
        "file_name": "turns.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }


def test_a_text_that_would_be_taken_for_a_picture_is_refused(tmp_path: Path) -> None:
    record = {
        "version": 1,
        "trajectory_id": "toy:one",
        "images": [],
        "messages": [
            {"role": "user", "train": False, "content": [{"type": "text", "text": "an <image>"}]},
            {"role": "assistant", "train": True, "content": [{"type": "text", "text": "stop"}]},
        ],
    }
    (tmp_path / "trajectories-00000-of-00001.jsonl").write_text(json.dumps(record) + "\n")

    with pytest.raises(ExportFailed, match='toy:one: its text holds "<image>"'):
        write_llama_factory(tmp_path)
