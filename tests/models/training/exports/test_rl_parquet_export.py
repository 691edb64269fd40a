"""MedSAM-Agent's columns: the question with its picture, and the truth on the picture's grid."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.errors import ExportFailed
from models.training.exports.rl_parquet import write_rl_parquet
from models.training.exports.trajectory_folder import records
from tests.support.toy_cases import toy_cases
from tests.support.training.toy_trajectories import toy_run, write_toy_folder

parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra segnode[train]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trajectories")
    cases = [*toy_cases(4), *toy_cases(1, seed=5, depth=7)]
    write_toy_folder(folder, toy_run(per_case=2), cases)
    return folder


def test_a_row_for_each_structure_and_slice(folder: Path) -> None:
    count = write_rl_parquet(folder)

    rows = parquet.read_table(folder / "rl.parquet").to_pylist()
    places = {
        (record["case_id"], record["target"]["text"], record["slice"])
        for record in records(folder)
        if record["kind"] not in ("volume", "review")
    }
    assert len(rows) == count == len(places)
    assert set(rows[0]) == {"prompt", "data_source", "images", "reward_model", "extra_info"}


def test_a_row_asks_with_one_picture_and_holds_no_answer(folder: Path) -> None:
    write_rl_parquet(folder)

    for row in parquet.read_table(folder / "rl.parquet").to_pylist():
        assert [message["role"] for message in row["prompt"]] == ["system", "user"]
        assert "".join(message["content"] for message in row["prompt"]).count("<image>") == 1
        assert len(row["images"]) == 1
        assert row["extra_info"]["target_description"] in row["prompt"][1]["content"]


def test_the_truth_lies_on_the_picture(folder: Path) -> None:
    write_rl_parquet(folder)

    for row in parquet.read_table(folder / "rl.parquet").to_pylist():
        picture = np.asarray(Image.open(io.BytesIO(row["images"][0]["bytes"])))
        truth = np.asarray(Image.open(io.BytesIO(row["reward_model"]["ground_truth"]["bytes"])))
        assert truth.shape == picture.shape[:2]
        assert set(np.unique(truth)) <= {0, 255}
        if truth.any():
            assert picture[truth > 127].mean() > picture[truth <= 127].mean()


def test_hard_samples_are_those_of_many_turns(folder: Path) -> None:
    everything, hard = write_rl_parquet(folder), write_rl_parquet(folder, least_turns=3)

    assert 0 < hard < everything
    with pytest.raises(ExportFailed, match="no trajectory of 9 turns"):
        write_rl_parquet(folder, least_turns=9)
    assert parquet.read_table(folder / "rl.parquet").num_rows == hard  # the earlier one stays
