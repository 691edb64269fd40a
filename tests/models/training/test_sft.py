"""Supervised fine-tuning, whole: real models of both families, tiny and random, on toy episodes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.fixture_types import PlannerFolders

pytest.importorskip("trl")

import torch
from datasets import Dataset
from safetensors.torch import load_file

from models.errors import TrainingRefused, TrainingStopped, UnusableData
from models.training.run_folder import RunFolder
from models.training.sft import (
    SftResult,
    SftSettings,
    refuse_impossible,
    shared_out,
    train_sft,
    trainer_arguments,
)
from tests.support.scripted_trajectories import write_rows
from tests.support.token_golden import loaded_planner
from tests.support.training.full_disk import disk_for

FAST: dict[str, Any] = {
    "batch": 4,
    "accumulate": 1,
    "learning_rate": 3e-3,
    "held_out": 0.25,
    "device": "cpu",
}
BROKEN_AND_UNBROKEN: dict[str, Any] = FAST | {"steps": 4, "save_every": 2, "batch": 1}


Trained = Callable[[str], SftResult]
"""A family to what its run ended with."""


@pytest.fixture(scope="module")
def trained(
    toy_trajectories: Path,
    planner_folders: PlannerFolders,
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    """A whole run of each family, made once: all weights of Qwen3-VL, adapters of Qwen2.5-VL."""
    runs: dict[str, SftResult] = {}

    def run(family: str) -> SftResult:
        if family not in runs:
            out = tmp_path_factory.mktemp("runs") / family
            adapters = {"lora": 8, "learning_rate": 2e-2} if family == "qwen2_5_vl" else {}
            settings = SftSettings(**FAST | {"steps": 8, "save_every": 8} | adapters)
            runs[family] = train_sft(toy_trajectories, planner_folders(family), out, settings)
        return runs[family]

    return run


@pytest.fixture(params=["qwen3_vl", "qwen2_5_vl"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_loss_on_patients_that_were_held_out_falls(trained: Trained, family: str) -> None:
    result = trained(family)

    assert result.loss_before is not None
    assert result.loss_after is not None
    # a random model's loss is ln(vocabulary) and some; a model of another seed lies 0.1 beside it
    assert result.loss_before == pytest.approx(7.3, abs=0.5)
    assert result.loss_before - result.loss_after > 1.0
    assert (result.steps, result.learnt, result.left_out) == (8, 18, 0)


def test_what_was_trained_is_served(
    trained: Trained, family: str, planner_folders: PlannerFolders
) -> None:
    result = trained(family)

    loaded = loaded_planner(result.model)
    base = loaded_planner(planner_folders(family))

    assert type(loaded.model) is type(base.model)
    assert loaded.processor.chat_template == base.processor.chat_template
    words = "<|im_start|>user\nThe target is: bright ellipse."
    assert loaded.processor.tokenizer(words) == base.processor.tokenizer(words)


def test_the_record_says_what_it_was_made_of_and_no_patient(trained: Trained, family: str) -> None:
    result = trained(family)

    text = (result.model / "training.json").read_text()
    record = json.loads(text)
    assert record["method"] == "sft"
    assert record["settings"]["lora"] == (8 if family == "qwen2_5_vl" else 0)
    assert record["held_out_loss"] == {"before": result.loss_before, "after": result.loss_after}
    assert record["versions"]["trl"] == "1.16.0"
    assert len(record["base"]["config_sha256"]) == len(record["data"]) == 64
    assert "patient" not in text


def test_figures_go_to_tensorboard_and_a_picture_and_pictures_of_patients_to_neither(
    trained: Trained,
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = trained("qwen3_vl").model.parent

    (file,) = (out / "tensorboard").iterdir()
    events = EventAccumulator(str(file)).Reload()
    assert {"train/loss", "train/grad_norm", "eval/loss"} <= set(events.Tags()["scalars"])
    assert events.Tags()["images"] == []
    assert len(events.Scalars("train/loss")) == 8
    assert (out / "curves.png").stat().st_size > 5000
    assert sorted(path.name for path in out.iterdir()) == [
        "checkpoints",
        "curves.png",
        "left-out.txt",
        "model",
        "run.json",
        "tensorboard",
    ]


def test_adapters_change_the_language_layers_alone(
    trained: Trained, planner_folders: PlannerFolders
) -> None:
    before = load_file(planner_folders("qwen2_5_vl") / "model.safetensors")
    model = trained("qwen2_5_vl").model

    after = load_file(model / "model.safetensors")

    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("layers" in name and "visual" not in name for name in changed)
    assert (model / "adapter" / "adapter_model.safetensors").is_file()


def test_all_weights_are_trained_without_adapters(
    trained: Trained, planner_folders: PlannerFolders
) -> None:
    before = load_file(planner_folders("qwen3_vl") / "model.safetensors")

    after = load_file(trained("qwen3_vl").model / "model.safetensors")

    unchanged = {name for name in before if torch.equal(before[name], after[name])}
    assert unchanged == set()


@pytest.fixture(scope="module")
def unbroken(
    few_trajectories: Path,
    planner_folders: PlannerFolders,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The model of a run that nothing happened to."""
    settings = SftSettings(**BROKEN_AND_UNBROKEN)
    out = tmp_path_factory.mktemp("unbroken") / "run"
    return train_sft(few_trajectories, planner_folders("qwen3_vl"), out, settings).model


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(
    unbroken: Path, few_trajectories: Path, planner_folders: PlannerFolders, tmp_path: Path
) -> None:
    base, out = planner_folders("qwen3_vl"), tmp_path / "run"
    words = [few_trajectories, base, out, 3, json.dumps(BROKEN_AND_UNBROKEN)]
    command = [sys.executable, "-m", "tests.support.training.killed_training", *map(str, words)]
    killed = subprocess.run(command, capture_output=True, env={"OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (out / "model").exists()
    assert (out / "checkpoints" / "checkpoint-2").exists()

    told: list[str] = []

    settings = SftSettings(**BROKEN_AND_UNBROKEN)
    result = train_sft(few_trajectories, base, out, settings, resume=True, progress=told.append)

    assert [text.split(",")[0] for text in told[1:]] == ["step 3 of 4", "step 4 of 4"]

    weights = "model.safetensors"
    assert (result.model / weights).read_bytes() == (unbroken / weights).read_bytes()
    record, expected = (
        json.loads((model / "training.json").read_text()) for model in (result.model, unbroken)
    )
    assert record == expected


def test_a_run_whose_model_could_not_be_written_needs_no_further_step(
    unbroken: Path, few_trajectories: Path, planner_folders: PlannerFolders
) -> None:
    weights = (unbroken / "model.safetensors").read_bytes()
    unbroken.rename(unbroken.with_name("away"))
    settings = SftSettings(**BROKEN_AND_UNBROKEN | {"batch": 1, "accumulate": 1})

    result = train_sft(
        few_trajectories, planner_folders("qwen3_vl"), unbroken.parent, settings, resume=True
    )

    assert result.steps == 4
    assert (result.model / "model.safetensors").read_bytes() == weights


def test_a_run_is_not_resumed_from_another_architectures_checkpoint(
    unbroken: Path, few_trajectories: Path, planner_folders: PlannerFolders
) -> None:
    settings = SftSettings(**BROKEN_AND_UNBROKEN)

    with pytest.raises(TrainingRefused, match="was begun with another base: config_sha256"):
        train_sft(
            few_trajectories, planner_folders("qwen2_5_vl"), unbroken.parent, settings, resume=True
        )


def test_a_loss_that_is_no_number_stops_with_its_trajectories(
    toy_trajectories: Path, planner_folders: PlannerFolders, tmp_path: Path
) -> None:
    settings = SftSettings(**FAST | {"steps": 4, "save_every": 1, "learning_rate": 1e30})

    with pytest.raises(
        TrainingStopped, match=r"is no number after step 2, held out, .*toy-0-\d-.*ellipse"
    ):
        train_sft(toy_trajectories, planner_folders("qwen3_vl"), tmp_path / "run", settings)

    kept = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert kept == ["checkpoint-1"]


def test_nothing_is_reckoned_twice_on_a_processor(tmp_path: Path) -> None:
    able: Any = SimpleNamespace(model=SimpleNamespace(supports_gradient_checkpointing=True))
    arguments = trainer_arguments(RunFolder(tmp_path), SftSettings(), able, on_cpu=True)
    assert arguments.activation_checkpointing is False


def test_a_full_disk_leaves_no_half_checkpoint(
    toy_trajectories: Path, planner_folders: PlannerFolders, tmp_path: Path
) -> None:
    settings = SftSettings(**FAST | {"steps": 1, "save_every": 1, "held_out": 0.0})

    with (
        disk_for(500_000),
        pytest.raises(
            TrainingStopped, match=r"checkpoint of step 1 could not be written .*make room"
        ),
    ):
        train_sft(toy_trajectories, planner_folders("qwen3_vl"), tmp_path / "run", settings)

    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


def test_what_cannot_be_learnt_is_listed_and_the_rest_is_learnt(
    toy_trajectories: Path, planner_folders: PlannerFolders, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(toy_trajectories, data)
    lines = next(data.glob("*.jsonl")).read_text().splitlines()
    rows = [json.loads(line) for line in lines[:6]]
    endless = rows[0]["messages"][1]["content"][1]
    endless["text"] = "and so on " * 5000
    rows[1]["images"][1] = f"images/{'0' * 64}.png"
    write_rows(data, rows)
    settings = SftSettings(**FAST | {"steps": 1, "held_out": 0.0})

    result = train_sft(data, planner_folders("qwen3_vl"), tmp_path / "run", settings)

    told = (tmp_path / "run" / "left-out.txt").read_text()
    assert (result.learnt, result.left_out) == (4, 2), told
    assert f"{rows[0]['trajectory_id']}: it has" in told
    assert "more than the 4096 that qwen3_vl can read" in told
    assert f"{rows[1]['trajectory_id']}: the picture {'0' * 64}.png is missing" in told


def test_data_of_which_nothing_is_left_is_refused(
    toy_trajectories: Path, planner_folders: PlannerFolders, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(next(toy_trajectories.glob("*.jsonl")), data)

    with pytest.raises(
        UnusableData, match=r"none of its 24 .* is toy-0-0-.*: the picture .* is missing"
    ):
        train_sft(data, planner_folders("qwen3_vl"), tmp_path / "run", SftSettings(device="cpu"))


def table(*rows: tuple[str, str]) -> Dataset:
    return Dataset.from_list([{"patient": patient, "split": split} for patient, split in rows])


class TestWhoIsHeldOut:
    FOUR = table(*[(f"p{number}", "train") for number in (0, 0, 1, 2, 3, 3)])

    def test_it_is_whole_patients_chosen_by_the_seed(self) -> None:
        chosen = set()
        for seed in range(8):
            settings = SftSettings(held_out=0.25, seed=seed)
            learnt, held_out = shared_out(self.FOUR, Path("data"), settings)
            assert sorted(learnt + held_out) == list(range(6))
            (patient,) = {self.FOUR["patient"][row] for row in held_out}
            assert patient not in {self.FOUR["patient"][row] for row in learnt}
            assert shared_out(self.FOUR, Path("data"), settings) == (learnt, held_out)
            chosen.add(patient)
        assert len(chosen) > 1

    def test_validation_patients_are_taken_where_there_are_some(self) -> None:
        rows = table(("a", "training"), ("b", "validation"), ("c", "test"), ("d", ""))

        assert shared_out(rows, Path("data"), SftSettings()) == ([0, 3], [1])
        assert shared_out(rows, Path("data"), SftSettings(held_out=0.0)) == ([0, 3], [])

    def test_a_patient_in_two_splits_is_refused(self) -> None:
        rows = table(("a", "training"), ("b", "training"), ("a", "test"))

        with pytest.raises(TrainingRefused, match=r"in the splits 'training' and 'test' \(a\)"):
            shared_out(rows, Path("data"), SftSettings())

    def test_of_one_patient_nobody_can_be_held_out(self) -> None:
        with pytest.raises(TrainingRefused, match=r"of 1 training patients.*--held-out 0"):
            shared_out(table(("a", "train")), Path("data"), SftSettings())

    def test_the_test_patients_alone_teach_nothing(self) -> None:
        with pytest.raises(TrainingRefused, match="no trajectory of a training patient"):
            shared_out(table(("a", "test")), Path("data"), SftSettings(held_out=0.0))


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"held_out": 1.0}, "--held-out"),
        ({"batch": 0}, "batch is at least 1"),
        ({"save_every": 0}, "save_every is at least 1"),
        ({"epochs": 0.0}, "--epochs or --steps"),
    ],
)
def test_settings_that_make_no_run_are_refused(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(TrainingRefused, match=fault):
        refuse_impossible(SftSettings(device="cpu", **settings))


def test_sharding_on_cpus_which_would_quietly_not_happen_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")

    with pytest.raises(TrainingRefused, match="FSDP is configured and there is no GPU"):
        refuse_impossible(SftSettings(device="cpu"))
