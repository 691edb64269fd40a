"""TRL's own preparation takes the table, with as many pictures as there are places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.language.chat import Picture
from models.errors import ExportFailed
from models.training.exports.conversational import conversational
from models.training.exports.trajectory_folder import records
from tests.support.training.toy_trajectories import toy_run, write_toy_folder

pytest.importorskip("datasets", reason="needs the extra segnode[train]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trajectories")
    write_toy_folder(folder, toy_run(per_case=2))
    return folder


def test_the_table_holds_the_records_and_reads_their_pictures(folder: Path) -> None:
    written = list(records(folder))
    table = conversational(folder)

    assert table.column_names == ["trajectory_id", "messages", "images"]
    assert len(table) == len(written)
    for row, record in zip(table, written, strict=True):
        assert [m["role"] for m in row["messages"]] == [m["role"] for m in record["messages"]]
        assert [m["train"] for m in row["messages"]] == [m["train"] for m in record["messages"]]
        digests = [Picture(np.asarray(image.convert("RGB"))).digest for image in row["images"]]
        assert [f"images/{digest}.png" for digest in digests] == record["images"]


def test_trl_fills_the_places_with_the_pictures(folder: Path) -> None:
    trl_data = pytest.importorskip("trl.data_utils", reason="needs the extra segnode[train]")
    for row in conversational(folder):
        assert trl_data.is_conversational(row)
        messages = trl_data.prepare_multimodal_messages(row["messages"], images=row["images"])
        places = [
            part for message in messages for part in message["content"] if part["type"] == "image"
        ]
        assert [part["image"] for part in places] == row["images"]


def test_a_folder_without_trajectories_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="segnode trajectories"):
        conversational(tmp_path)
