"""What the machine does to a GRPO run ends it in a sentence, with the last good checkpoint kept."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from models.errors import TrainingRefused, TrainingStopped
from models.training.grpo_settings import GrpoSettings
from tests.support.fixture_types import PlannerFolders
from tests.support.training.full_disk import disk_for

Train = Callable[..., Any]


@pytest.fixture
def train(toy: ModuleType, raw: Path, quick: GrpoSettings, tmp_path: Path) -> Train:
    """Trains two squares for two steps, a checkpoint each, in `run`."""
    from tests.support.training.killed_grpo import train_on_squares

    def made(base: Path = raw, settings: GrpoSettings = quick, **more: Any) -> Any:
        return train_on_squares(base, tmp_path / "run", 2, settings, **more)

    return made


def checkpoints(run: Path) -> list[str]:
    return sorted(folder.name for folder in (run / "checkpoints").iterdir())


def test_a_full_disk_leaves_no_half_checkpoint_and_the_one_before_it(
    train: Train, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    full = disk_for(200_000)

    def fill(told: str) -> None:
        if told.startswith("step 2 "):
            full.__enter__()

    try:
        with pytest.raises(
            TrainingStopped, match=r"checkpoint of step 2 could not be written .*make room"
        ):
            train(progress=fill)
    finally:
        full.__exit__(None, None, None)

    assert checkpoints(run) == ["checkpoint-1"]
    assert not (run / "model").exists()
    told: list[str] = []
    assert train(resume=True, progress=told.append).steps == 2
    assert told[1].startswith("step 2 of 2")


def test_curves_that_cannot_be_written_are_told_and_drawn_when_there_is_room(
    grpo: ModuleType, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Path, *_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))

    with monkeypatch.context() as patch:
        patch.setattr(grpo, "draw_figures", full)
        with pytest.raises(TrainingStopped, match=r"curves\.png could not .*after step 2 \(No spa"):
            train()
    assert checkpoints(tmp_path / "run") == ["checkpoint-1", "checkpoint-2"]

    assert train(resume=True).steps == 2
    assert (tmp_path / "run" / "curves.png").stat().st_size > 5000


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"
        ),
    ],
)
def test_no_memory_is_told_with_what_to_lower(
    grpo: ModuleType,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fault: Exception,
) -> None:
    whole = grpo.EpisodeTrainer.compute_loss

    def short(trainer: Any, *inputs: Any, **more: Any) -> Any:
        if trainer.state.global_step:
            raise fault
        return whole(trainer, *inputs, **more)

    monkeypatch.setattr(grpo.EpisodeTrainer, "compute_loss", short)
    with pytest.raises(
        TrainingStopped,
        match=r"memory ran out in step 2\. With 2 rows .* --per-device .*--image-px.*--lora",
    ):
        train()

    assert checkpoints(tmp_path / "run") == ["checkpoint-1"]


def test_a_fault_of_the_program_is_none_of_the_machine(
    grpo: ModuleType, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(grpo.EpisodeTrainer, "compute_loss", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train()


def test_a_run_is_not_gone_on_with_from_a_model_of_another_architecture(
    train: Train, planner_folders: PlannerFolders, tmp_path: Path
) -> None:
    """Of the same name, as every model/ of a run has."""
    train()
    (tmp_path / "model").symlink_to(planner_folders("qwen2_5_vl"))

    with pytest.raises(TrainingRefused, match="was begun with another base: config_sha256"):
        train(base=tmp_path / "model", resume=True)


def test_episodes_without_room_for_a_further_turn_are_told(
    train: Train, quick: GrpoSettings
) -> None:
    told: list[str] = []

    # the reply that fits is of four tokens; the picture behind it would be beyond ten
    train(settings=replace(quick, completion_tokens=10), progress=told.append)

    assert all("100% of the episodes out of room for a turn" in text for text in told[1:])
    assert len(told) == 3
