"""A folder of trajectories is read as it was written; what cannot be used is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agent.language.chat import Message, Picture
from agent.protocol.dialects import Dialect
from models.errors import UnusableData
from models.training.trajectory_files import Trajectories, read_picture
from tests.support.scripted_trajectories import (
    ScriptedEpisode,
    corrected,
    scripted_episode,
    trajectory_row,
    write_rows,
)
from tests.support.toy_cases import toy_cases

CASE = toy_cases(1)[0]


@pytest.fixture
def episode() -> ScriptedEpisode:
    return scripted_episode(CASE, CASE.truths[0], corrected, Dialect.TOOL_CALL)


@pytest.fixture
def row(tmp_path: Path, episode: ScriptedEpisode) -> dict[str, Any]:
    (tmp_path / "images").mkdir()
    return trajectory_row(episode, tmp_path, CASE, CASE.truths[0])


def read(folder: Path, *rows: dict[str, Any]) -> tuple[list[Any], dict[str, str]]:
    write_rows(folder, rows)
    trajectories = Trajectories(folder)
    return list(trajectories), trajectories.left_out


def test_the_conversation_is_the_one_that_serving_showed(
    tmp_path: Path, row: dict[str, Any], episode: ScriptedEpisode
) -> None:
    (trajectory,), left_out = read(tmp_path, row)

    *asked, last = trajectory.conversation().messages
    assert tuple(asked) == episode.asked[-1].messages
    assert last == Message("assistant", (episode.replies[-1],))
    replies = [
        flag
        for message, flag in zip((*asked, last), trajectory.learnt, strict=True)
        if message.role == "assistant"
    ]
    assert tuple(replies) == episode.learnt
    assert left_out == {}


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path, row: dict[str, Any]) -> None:
    for number in (1, 0):
        line = json.dumps(row | {"trajectory_id": f"in file {number}"})
        (tmp_path / f"trajectories-0000{number}-of-00002.jsonl").write_text(f"{line}\n")

    assert [each.trajectory_id for each in Trajectories(tmp_path)] == ["in file 0", "in file 1"]


def without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != key}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda row: without(row, "patient"), "no field 'patient'"),
        (
            lambda row: row | {"images": row["images"][:-1]},
            "its messages show 3 pictures, and 2 are named",
        ),
        (lambda row: row | {"images": ["../../etc/passwd"] * 3}, "lies outside of the folder"),
        (lambda row: row | {"messages": 3}, "not iterable"),
        (
            lambda row: row | {"messages": [m | {"train": False} for m in row["messages"]]},
            "none of its replies is to be learnt",
        ),
        (
            lambda row: row | {"messages": [m | {"train": True} for m in row["messages"]]},
            "not the assistant's is marked",
        ),
        (
            lambda row: row | {"messages": [m | {"role": "tool"} for m in row["messages"]]},
            "of the role 'tool'",
        ),
        (
            lambda row: (
                row | {"messages": [m | {"content": [{"type": "video"}]} for m in row["messages"]]}
            ),
            "neither text nor an image",
        ),
    ],
)
def test_a_line_that_cannot_be_used_is_named_and_the_others_are_read(
    tmp_path: Path,
    row: dict[str, Any],
    change: Callable[[dict[str, Any]], dict[str, Any]],
    fault: str,
) -> None:
    bad = change(row) | {"trajectory_id": "bad one"}

    trajectories, left_out = read(tmp_path, row, bad)

    assert [each.trajectory_id for each in trajectories] == [row["trajectory_id"]]
    assert list(left_out) == ["bad one"]
    assert fault in left_out["bad one"]


def test_a_line_that_was_cut_off_is_named_by_its_place(tmp_path: Path, row: dict[str, Any]) -> None:
    file = tmp_path / "trajectories-00000-of-00001.jsonl"
    file.write_text(f"{json.dumps(row)}\n{json.dumps(row)[:100]}")
    trajectories = Trajectories(tmp_path)

    assert len(list(trajectories)) == 1
    assert list(trajectories.left_out) == [f"{file.name}:2"]
    assert "no whole line" in trajectories.left_out[f"{file.name}:2"]


def test_a_folder_without_trajectories_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match="make some: segnode trajectories"):
        list(Trajectories(tmp_path))


def test_a_later_version_is_refused(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(UnusableData, match="is of version 2, this Segnode reads 1"):
        read(tmp_path, row | {"version": 2})


def test_a_picture_is_known_by_its_bytes_or_by_its_pixels(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    picture = Picture(pixels)
    Image.fromarray(pixels).save(tmp_path / f"{picture.digest}.png")

    assert read_picture(tmp_path / f"{picture.digest}.png") == picture


def test_a_picture_that_is_missing_or_was_changed_is_named(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    (trajectory,), _ = read(tmp_path, row)
    first, second, third = trajectory.files

    assert trajectory.conversation().pictures
    shutil.copy(second, first)
    with pytest.raises(ValueError, match=f"{first.name} is not what its name says"):
        trajectory.conversation()
    first.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=f"{first.name} cannot be read"):
        trajectory.conversation()
    first.unlink()
    with pytest.raises(ValueError, match=f"{first.name} is missing"):
        trajectory.conversation()
    assert third.exists()


def test_the_manifest_is_known_by_its_hash(tmp_path: Path) -> None:
    assert Trajectories(tmp_path).manifest_sha256() == ""
    (tmp_path / "manifest.json").write_text("{}")
    assert Trajectories(tmp_path).manifest_sha256().startswith("44136fa355b3678a")
