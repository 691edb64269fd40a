"""A run is trained to its last step and not beyond."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from models.errors import TrainingRefused
from models.training.running.finishing import train_to_last_step


class Recorder:
    """Stands for a trainer: remembers what it was told to do."""

    is_deepspeed_enabled = False

    def __init__(self, *, sharded: bool = False) -> None:
        self.is_fsdp_enabled, self.state = sharded, None
        self.told: list[Any] = []

    def train(self, **how: Any) -> None:
        self.told.append(("train", how))

    def _load_from_checkpoint(self, checkpoint: str) -> None:
        self.told.append(("load", checkpoint))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    state = {"global_step": 4, "max_steps": 4, "log_history": [{"step": 4, "reward": 0.5}]}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    return tmp_path


def test_a_new_run_is_trained() -> None:
    trainer: Any = Recorder()
    train_to_last_step(trainer, None)
    assert trainer.told == [("train", {})]


def test_a_run_in_the_middle_is_gone_on_with(checkpoint: Path) -> None:
    trainer: Any = Recorder()
    (checkpoint / "trainer_state.json").write_text('{"global_step": 3, "max_steps": 4}')
    train_to_last_step(trainer, checkpoint)
    assert trainer.told == [("train", {"resume_from_checkpoint": str(checkpoint)})]


def test_of_a_run_at_its_end_weights_and_history_are_loaded(checkpoint: Path) -> None:
    trainer: Any = Recorder()
    train_to_last_step(trainer, checkpoint)
    assert trainer.told == [("load", str(checkpoint))]
    assert trainer.state.log_history == [{"step": 4, "reward": 0.5}]


def test_what_is_in_shards_is_put_together_in_one_process(checkpoint: Path) -> None:
    trainer: Any = Recorder(sharded=True)
    with pytest.raises(TrainingRefused, match=r"in one process\. Start the same with --resume"):
        train_to_last_step(trainer, checkpoint)
    assert trainer.told == []
