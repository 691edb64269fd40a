"""Trajectories in a table of tokens, and the batches that are made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.policies.chat.in_process.loading import Loaded
from tests.support.fixture_types import PlannerFolders

pytest.importorskip("datasets")

import torch
from datasets import Dataset

from models.errors import TrainingStopped
from models.training.collating import Collator
from models.training.planner_tokens import planner_tokens
from models.training.token_table import open_table, write_table
from models.training.trajectory_files import Trajectories
from tests.support.token_golden import loaded_planner


@pytest.fixture(scope="module")
def loaded(planner_folders: PlannerFolders) -> Loaded:
    return loaded_planner(planner_folders("qwen3_vl"))


@pytest.fixture(scope="module")
def table(
    loaded: Loaded, toy_trajectories: Path, tmp_path_factory: pytest.TempPathFactory
) -> Dataset:
    file = tmp_path_factory.mktemp("table") / "tokens.arrow"
    write_table(file, Trajectories(toy_trajectories), planner_tokens(loaded))
    return open_table(file)


def test_every_trajectory_has_its_row_in_order(table: Dataset, toy_trajectories: Path) -> None:
    trajectories = list(Trajectories(toy_trajectories))

    assert table["trajectory_id"][:] == [each.trajectory_id for each in trajectories]
    assert table["patient"][:] == [each.patient for each in trajectories]
    assert [len(files) for files in table["images"]] == [len(each.files) for each in trajectories]


def test_labels_are_the_ids_or_nothing(table: Dataset) -> None:
    for row in table:
        assert len(row["labels"]) == len(row["input_ids"])
        pairs = zip(row["labels"], row["input_ids"], strict=True)
        assert all(label in (-100, token) for label, token in pairs)
        assert any(label != -100 for label in row["labels"])


def test_what_is_longer_than_the_model_reads_is_left_out_whole(
    loaded: Loaded, toy_trajectories: Path, tmp_path: Path
) -> None:
    planner = planner_tokens(loaded)
    trajectories = Trajectories(toy_trajectories)
    write_table(tmp_path / "all.arrow", trajectories, planner)
    lengths = [len(row["input_ids"]) for row in open_table(tmp_path / "all.arrow")]
    context = min(lengths)

    write_table(tmp_path / "short.arrow", trajectories, replace(planner, context_tokens=context))

    short = open_table(tmp_path / "short.arrow")
    assert [len(row["input_ids"]) for row in short] == [n for n in lengths if n <= context]
    assert len(trajectories.left_out) == sum(n > context for n in lengths) > 0
    assert f"more than the {context} that qwen3_vl can read" in str(trajectories.left_out)


def test_a_batch_is_filled_up_behind_its_rows(loaded: Loaded, table: Dataset) -> None:
    rows = [table[0], table[len(table) - 1]]
    planner = planner_tokens(loaded)

    batch = Collator(loaded.model, loaded.processor, planner.filler)(rows)

    longest = max(len(row["input_ids"]) for row in rows)
    assert batch["input_ids"].shape == batch["labels"].shape == (2, longest)
    for at, row in enumerate(rows):
        length = len(row["input_ids"])
        assert batch["input_ids"][at, :length].tolist() == row["input_ids"]
        assert batch["labels"][at].tolist() == row["labels"] + [-100] * (longest - length)
        assert batch["attention_mask"][at].tolist() == [1] * length + [0] * (longest - length)
        assert (batch["input_ids"][at, length:] == planner.filler).all()
    pictures = [file for row in rows for file in row["images"]]
    assert len(batch["image_grid_thw"]) == len(pictures)
    image_tokens = batch["input_ids"] == loaded.model.config.image_token_id
    assert batch["mm_token_type_ids"].bool().equal(image_tokens)
    merged = loaded.processor.image_processor.merge_size**2
    assert image_tokens.sum() == len(batch["pixel_values"]) // merged
    assert batch["trajectory_ids"] == [row["trajectory_id"] for row in rows]


def test_the_model_gives_a_batch_the_loss_of_its_rows_alone(loaded: Loaded, table: Dataset) -> None:
    rows = [table[0], table[len(table) - 1]]
    collate = Collator(loaded.model, loaded.processor, planner_tokens(loaded).filler)

    def losses(some: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        batch = collate(some)
        batch.pop("trajectory_ids")
        with torch.inference_mode():
            logits = loaded.model(**batch).logits[:, :-1]
        labels = batch["labels"][:, 1:]
        return torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), labels, reduction="none"
        ).sum(dim=1)

    together = losses(rows)

    alone = torch.cat([losses([row]) for row in rows])
    assert torch.allclose(together, alone, rtol=1e-4)


def test_a_row_whose_pictures_have_other_sizes_stops_the_run(
    loaded: Loaded, table: Dataset
) -> None:
    row = dict(table[0])
    row["images"] = row["images"][:-1]
    collate = Collator(loaded.model, loaded.processor, planner_tokens(loaded).filler)

    with pytest.raises(TrainingStopped, match=r"toy-0-0-.*: \d+ tokens stand for its pictures"):
        collate([row])


def test_a_picture_that_went_missing_meanwhile_stops_the_run_by_name(
    loaded: Loaded, table: Dataset
) -> None:
    row = dict(table[0]) | {"images": [str(Path("gone") / "picture.png")]}
    collate = Collator(loaded.model, loaded.processor, planner_tokens(loaded).filler)

    with pytest.raises(TrainingStopped, match=r"toy-0-0-.*: the picture picture.png is missing"):
        collate([row])
