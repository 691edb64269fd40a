"""A run's folder: begun once, gone on with only as it was begun, and nothing half in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.errors import TrainingRefused, TrainingStopped
from models.training.run_folder import RunFolder, checkpoint_step, write_whole

BEGUN: dict[str, Any] = {
    "base": {"name": "toy"},
    "settings": {"batch": 4, "seed": 0},
    "tuple": (1, 2),
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def add_checkpoint(run: RunFolder, step: int, *, state: str | None = None) -> Path:
    folder = run.checkpoints / f"checkpoint-{step}"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    if state is None:
        state = json.dumps({"global_step": step})
    if state:
        (folder / "trainer_state.json").write_text(state)
    return folder


def test_the_last_whole_checkpoint_is_gone_on_from_and_half_ones_go(run: RunFolder) -> None:
    run.begin(BEGUN)
    add_checkpoint(run, 5)
    last = add_checkpoint(run, 10)
    half = add_checkpoint(run, 15, state='{"global_step": 15, "log_hi')
    begun = add_checkpoint(run, 20, state="")

    assert run.resume(BEGUN) == last
    assert not half.exists()
    assert not begun.exists()


def test_a_run_that_has_no_checkpoint_yet_begins_at_its_start(run: RunFolder) -> None:
    run.begin(BEGUN)

    assert run.resume(BEGUN) is None


def test_a_checkpoint_under_another_steps_name_is_none(run: RunFolder) -> None:
    run.begin(BEGUN)

    assert checkpoint_step(add_checkpoint(run, 5, state='{"global_step": 6}')) is None


def test_a_folder_with_a_run_is_not_begun_again(run: RunFolder) -> None:
    run.begin(BEGUN)

    with pytest.raises(TrainingRefused, match="holds a run already: go on with it by --resume"):
        run.begin(BEGUN)


def test_there_is_nothing_to_resume_without_a_run(run: RunFolder) -> None:
    with pytest.raises(TrainingRefused, match="holds no run to resume"):
        run.resume(BEGUN)


def test_a_run_is_resumed_only_as_it_was_begun(run: RunFolder) -> None:
    run.begin(BEGUN)

    with pytest.raises(TrainingRefused, match="another settings: batch 4, now 8"):
        run.resume(BEGUN | {"settings": {"batch": 8, "seed": 0}})
    with pytest.raises(TrainingRefused, match="another base"):
        run.resume(BEGUN | {"base": {"name": "other"}})


def test_the_model_is_there_whole_or_not_at_all(run: RunFolder) -> None:
    run.begin(BEGUN)

    def full_disk(folder: Path) -> None:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half of the wei")
        raise OSError(28, "No space left on device")

    with pytest.raises(TrainingStopped, match=r"No space left.*make room and go on with --resume"):
        run.finish(full_disk, {})

    assert not run.model.exists()
    assert [path.name for path in run.out.iterdir() if "model" in path.name] == []


def test_a_fault_of_the_program_is_not_taken_for_a_full_disk(run: RunFolder) -> None:
    run.begin(BEGUN)

    def broken(folder: Path) -> None:
        raise KeyError("a name")

    with pytest.raises(KeyError):
        run.finish(broken, {})


def test_a_finished_model_has_its_record_beside_it(run: RunFolder) -> None:
    run.begin(BEGUN)

    run.finish(lambda folder: folder.mkdir(), {"method": "sft"})

    assert json.loads((run.model / "training.json").read_text()) == {"method": "sft"}


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_text("old")

    write_whole(file, "new")

    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]
    assert file.read_text() == "new"
