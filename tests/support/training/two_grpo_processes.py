"""Two gloo processes of one GRPO run, and a step of its loss on a model sharded between them:

    python -m torch.distributed.run --nproc-per-node 2 -m
        tests.support.training.two_grpo_processes BASE OUT SQUARES SETTINGS

Each process leaves OUT/process-N.json; SETTINGS is JSON of GrpoSettings' record.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from trl.trainer.grpo_trainer import add_fused_lm_head

from models.training import grpo
from models.training.grpo_settings import settings_of
from tests.support.planners.toy_planner import load_toy
from tests.support.training.killed_grpo import train_on_squares


class WatchedTrainer(grpo.EpisodeTrainer):
    """The trainer, which remembers what this process was given and what came of it."""

    made: WatchedTrainer

    def __init__(self, *of: Any, **more: Any) -> None:
        super().__init__(*of, **more)
        WatchedTrainer.made = self
        self.taken: list[list[str]] = []
        self.earned_by_step: list[list[float]] = []
        self.learnt: dict[str, Any] = {}

    def _generate(self, prompts: list[str]) -> tuple[Any, ...]:
        generated = super()._generate(prompts)
        self.taken.append(list(prompts))
        self.earned_by_step.append(self._earned.tolist())
        return generated

    def _compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        self.learnt = inputs
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        return loss


def weights_digest(model: torch.nn.Module) -> str:
    """SHA-256 of all weights."""
    whole = hashlib.sha256()
    for _, weight in sorted(model.state_dict().items()):
        whole.update(weight.detach().numpy().tobytes())
    return whole.hexdigest()


def sharded_step(trainer: WatchedTrainer, base: Path) -> dict[str, Any]:
    """GRPO's loss and gradients of this process's last batch, by a whole model with gradients
    averaged by hand and by one of which each process holds a half.
    """
    inputs = dict(trainer.learnt)
    rows = len(inputs["advantages"])
    inputs["advantages"] = torch.linspace(-1.0, 2.0, rows)  # as if every row had earned otherwise
    whole, sharded = (load_toy(base).model.train() for _ in range(2))
    for model in (whole, sharded):  # as TRL's constructor does with the model that it is given
        add_fused_lm_head(model, temperature=1.0, outputs=("log_probs", "entropy"))
    losses = [_backward(trainer, whole, inputs)]
    for parameter in whole.parameters():
        dist.all_reduce(parameter.grad)
        parameter.grad /= dist.get_world_size()

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in (*sharded.model.language_model.layers, *sharded.model.visual.blocks, sharded):
        fully_shard(layer, mesh=mesh)
    losses.append(_backward(trainer, sharded, inputs))
    pairs = zip(whole.parameters(), sharded.parameters(), strict=True)
    differences, largest, shards = [], [], []
    for ours, theirs in pairs:
        shards.append(isinstance(theirs, DTensor))
        gradient = theirs.grad.full_tensor()
        differences.append(float((ours.grad - gradient).abs().max()))
        largest.append(float(gradient.abs().max()))
    return {
        "losses": losses,
        "all_sharded": all(shards),
        "difference": max(differences),
        "largest": max(largest),
        "with_gradient": sum(value > 0 for value in largest),
        "parameters": len(largest),
    }


def _backward(trainer: WatchedTrainer, model: PreTrainedModel, inputs: dict[str, Any]) -> float:
    loss = trainer._compute_loss(model, dict(inputs))
    loss.backward()
    return float(loss.detach())


def main(base: str, out: str, squares: str, settings: str) -> None:
    """Train with DDP, then look at a step that is sharded by hand."""
    torch.set_num_threads(1)
    values = json.loads(settings)
    training = settings_of(None, values | {"prompts_folder": Path(values["prompts_folder"])})
    grpo.EpisodeTrainer = WatchedTrainer  # type: ignore[misc]  # the run makes its trainer itself
    train_on_squares(Path(base), Path(out), int(squares), training)
    trainer = WatchedTrainer.made
    model = trainer.accelerator.unwrap_model(trainer.model)
    report = {
        "kind": type(trainer.model_wrapped).__name__,
        "weights": weights_digest(model),
        "prompts": trainer.taken,
        "earned": trainer.earned_by_step,
        "rewards": [entry["reward"] for entry in trainer.state.log_history if "reward" in entry],
        "sharded": sharded_step(trainer, Path(base)),
    }
    (Path(out) / f"process-{dist.get_rank()}.json").write_text(json.dumps(report))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
