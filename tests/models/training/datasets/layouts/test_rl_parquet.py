"""MedSAM-Agent's parquet: a row is a case, its pictures read when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.case import Case
from models.training.datasets.dataset import Dataset
from models.training.datasets.opening import open_dataset
from tests.support.dataset_folders import labelled, parquet_rows, picture_bytes

pyarrow = pytest.importorskip("pyarrow", reason="the extra train is not installed")
parquet = pytest.importorskip("pyarrow.parquet")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def opened(path: Path) -> tuple[Dataset, list[Case]]:
    dataset = open_dataset(path)
    return dataset, list(dataset.cases())


def test_a_row_is_a_case(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", parquet_rows(20))

    dataset, cases = opened(tmp_path)

    assert (dataset.layout, len(dataset), len(cases)) == ("rl-parquet", 20, 20)
    case = cases[17]
    assert (case.case_id, case.patient, case.split) == ("train/17", "case-17", "training")
    assert (case.volume.modality, case.truths[0].target.text) == ("CT", "liver")
    np.testing.assert_array_equal(case.truths[0].voxels, labelled(17)[1][2:3] == 1)


def test_a_second_pass_gives_the_same_cases(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path / "a.parquet", parquet_rows(3)))

    passes = [[case.truths[0].voxels.sum() for case in dataset.cases()] for _ in range(2)]

    assert passes[0] == passes[1]
    assert len(passes[0]) == 3


def test_ground_truth_may_be_bytes_alone(tmp_path: Path) -> None:
    rows = parquet_rows(2)
    for row in rows:
        row["reward_model"] = {"ground_truth": row["reward_model"]["ground_truth"]["bytes"]}

    assert len(opened(write(tmp_path / "a.parquet", rows))[1]) == 2


def spoilt(change: Callable[[dict[str, Any]], object]) -> list[dict[str, Any]]:
    rows = parquet_rows(3)
    change(rows[1])
    return rows


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda row: row["images"][0].update(bytes=b"no picture"), "an image in it is damaged"),
        (lambda row: row["images"].clear(), "row 1 has no picture"),
        (
            lambda row: row["images"][0].update(bytes=row["images"][0]["bytes"][:90]),
            "an image in it is damaged",
        ),
        (lambda row: row["reward_model"].update(ground_truth=None), "row 1 has no picture, or no"),
        (
            lambda row: row["reward_model"]["ground_truth"].update(
                bytes=picture_bytes(np.zeros((3, 3), np.uint8))
            ),
            "the mask of row 1 has",
        ),
        (lambda row: row["extra_info"].update(target_description=""), "no target_description"),
    ],
)
def test_a_broken_row_is_named_and_the_others_stay(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], sentence: str
) -> None:
    dataset, cases = opened(write(tmp_path / "a.parquet", spoilt(change)))

    assert [case.case_id for case in cases] == ["a/0", "a/2"]
    (skipped,) = dataset.skipped
    assert (skipped.file, skipped.case_id) == ("a.parquet", "a/1")
    assert sentence in skipped.reason


def test_a_truncated_file_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.parquet", parquet_rows(2)).read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[:-40])

    dataset, cases = opened(tmp_path)

    assert len(cases) == 2
    assert [s.file for s in dataset.skipped] == ["b.parquet"]


def test_damage_among_the_pictures_costs_cases_and_each_is_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", parquet_rows(40))
    content = bytearray(path.read_bytes())
    pictures = len(content) // 4
    content[pictures : pictures + 300] = bytes(300)
    path.write_bytes(bytes(content))

    dataset, cases = opened(path)

    assert len(dataset) == 40
    assert len(cases) + len(dataset.skipped) == 40
    assert dataset.skipped
