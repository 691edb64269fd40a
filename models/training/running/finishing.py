"""A run from its beginning or a checkpoint to its last step, and not beyond."""

from __future__ import annotations

from pathlib import Path

from transformers import Trainer, TrainerState

from models.errors import TrainingRefused


def train_to_last_step(trainer: Trainer, checkpoint: Path | None) -> None:
    """Train from `checkpoint`, if there is one; where it is of the last step already, only load it:
    transformers would make one step more.

    TrainingRefused where that one would have to be put together from sharded processes.
    """
    if checkpoint is None:
        trainer.train()
        return
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    if state.global_step < state.max_steps:
        trainer.train(resume_from_checkpoint=str(checkpoint))
        return
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise TrainingRefused(
            f"all steps of the run are made and its model is not written: {checkpoint} is whole, "
            "and it is made a model of in one process. Start the same with --resume without "
            "accelerate"
        )
    trainer._load_from_checkpoint(str(checkpoint))  # noqa: SLF001  transformers has no public way
    trainer.state = state
