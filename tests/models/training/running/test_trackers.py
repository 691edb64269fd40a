"""Figures of a run that is gone on with are there once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

pytest.importorskip("trl")

from transformers import TrainerControl, TrainerState, TrainingArguments

from models.training.running.trackers import tensorboard


def log(out: Path, checkpoint: Path | None, steps: range, value: float) -> None:
    callback = tensorboard(out, checkpoint)
    for step in steps:
        state = TrainerState(global_step=step, is_world_process_zero=True)
        arguments = TrainingArguments(output_dir=str(out), use_cpu=True, report_to="none")
        callback.on_log(arguments, state, TrainerControl(), logs={"reward": value})
    callback.on_train_end(arguments, state, TrainerControl())


def test_what_a_killed_process_wrote_after_its_checkpoint_is_void(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    checkpoint = tmp_path / "checkpoints" / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": 2}))

    log(tmp_path, None, range(1, 5), 0.1)
    begun = time.time()  # of which a file has its name, in whole seconds
    monkeypatch.setattr(time, "time", lambda: begun + 60)
    log(tmp_path, checkpoint, range(3, 6), 0.2)

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("train/reward")
    assert [event.step for event in events] == [1, 2, 3, 4, 5]
    assert [round(event.value, 1) for event in events] == [0.1, 0.1, 0.2, 0.2, 0.2]
