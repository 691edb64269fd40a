"""Two gloo processes of one training run, and the same model sharded by hand between them:

    python -m torch.distributed.run --nproc-per-node 2 -m tests.support.training.two_processes
        DATA BASE OUT SETTINGS

Leaves OUT/sharded.json, and what was trained and saved while it was sharded: OUT/sharded-model and
OUT/sharded-lora, each beside a file of its weights that were gathered one by one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from peft import LoraConfig, get_peft_model
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from models.training.collating import Collator
from models.training.planner_tokens import planner_tokens
from models.training.running.saved_model import save_served, whole_model
from models.training.sft import SftSettings, train_sft
from models.training.token_table import open_table, write_table
from models.training.trajectory_files import Trajectories
from tests.support.token_golden import loaded_planner

STEPS = 3


def sharded_losses(data: Path, base: Path, out: Path) -> dict[str, Any]:
    """Train a model whose every layer is spread over both processes: the losses by step, and how
    much of it one process holds.
    """
    loaded = loaded_planner(base)
    planner = planner_tokens(loaded)
    file = out / f"tokens-{dist.get_rank()}.arrow"
    write_table(file, Trajectories(data), planner)
    row = open_table(file)[dist.get_rank()]
    batch = Collator(loaded.model, loaded.processor, planner.filler)([row])
    batch.pop("trajectory_ids")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    model = loaded.model.train()
    whole = sum(parameter.numel() for parameter in model.parameters())
    for layer in (*model.model.language_model.layers, *model.model.visual.blocks, model):
        fully_shard(layer, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(STEPS):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    save_sharded(model, loaded.processor, out / "sharded-model")
    shards = [parameter for parameter in model.parameters() if isinstance(parameter, DTensor)]
    held = sum(shard.to_local().numel() for shard in shards)
    names = len(list(model.parameters()))
    return {"losses": losses, "share": held / whole, "all_sharded": len(shards) == names}


def save_sharded(model: Any, processor: Any, folder: Path) -> None:
    """Save a sharded model as a run does at its end, and each weight gathered alone beside it."""
    alone = {name: weight.full_tensor() for name, weight in model.named_parameters()}
    whole = whole_model(model, here=dist.get_rank() == 0)
    if dist.get_rank() == 0:
        torch.save(alone, folder.with_suffix(".pt"))
        save_served(whole, processor, folder)
    dist.barrier()


def save_sharded_adapters(base: Path, out: Path) -> None:
    """Save a sharded model with adapters that change every query."""
    loaded = loaded_planner(base)
    adapted = get_peft_model(loaded.model, LoraConfig(r=2, target_modules=["q_proj"]))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(weight, 0.1)
    fully_shard(adapted, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    save_sharded(adapted, loaded.processor, out / "sharded-lora")


def main(data: str, base: str, out: str, settings: str) -> None:
    """Train with DDP, then sharded by hand."""
    torch.set_num_threads(1)
    train_sft(Path(data), Path(base), Path(out), SftSettings(**json.loads(settings)))
    sharded = sharded_losses(Path(data), Path(base), Path(out))
    save_sharded_adapters(Path(base), Path(out))
    if dist.get_rank() == 0:
        (Path(out) / "sharded.json").write_text(json.dumps(sharded))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
