"""How a run's processes are started: what the trainer would quietly do otherwise is refused."""

from __future__ import annotations

import os

import torch

from models.errors import TrainingRefused
from models.runtime.devices import chosen_device


def refuse_impossible_processes(device: str, launch: str) -> None:
    """TrainingRefused for sharding on CPUs, and for one process that sees several GPUs; `launch`
    says how to start several.
    """
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true", "yes")
    kind = chosen_device(device).type
    if sharded and kind == "cpu":
        # accelerate shards on accelerators alone, and runs plain DDP here without a word
        raise TrainingRefused(
            "FSDP is configured and there is no GPU: the trainer would not shard, and not say so. "
            "Take FSDP out of the configuration (DDP runs on CPUs), or train on GPUs"
        )
    if kind == "cuda" and torch.cuda.device_count() > 1 and "RANK" not in os.environ:
        raise TrainingRefused(
            f"{torch.cuda.device_count()} GPUs are visible to one process: start with {launch}, "
            "or show one by CUDA_VISIBLE_DEVICES=0"
        )
