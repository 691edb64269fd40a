"""The model that a run begins with and the one that it leaves, as serving loads them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel, ProcessorMixin

from agent.protocol.coordinates import Coordinates
from models.policies.chat.families import TRAINED_COORDINATES


def base_identity(base: Path) -> dict[str, Any]:
    """What tells one model's folder from another: its configuration and its weights' sizes."""
    files = sorted(base.glob("*.safetensors"))
    return {
        "name": base.name,
        "config_sha256": hashlib.sha256((base / "config.json").read_bytes()).hexdigest(),
        "weights": {file.name: file.stat().st_size for file in files},
    }


def whole_model(model: PreTrainedModel, *, here: bool) -> PreTrainedModel:
    """The trained model, unwrapped, with every weight whole where this process is the one that
    saves (`here`): of one that FSDP shares out a second model in main memory, all else as it is.

    All processes call it together, since each gives its part of every weight.
    """
    if not any(isinstance(weight, DTensor) for weight in model.parameters()):
        return model
    # rank 0 alone is given the weights, the others an empty dict
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(model, options=options)
    return _unsharded(model, weights) if here else model


def _unsharded(model: PreTrainedModel, weights: dict[str, Any]) -> PreTrainedModel:
    """A second model of this kind that holds `weights`, which are not copied."""
    adapted = isinstance(model, PeftModel)
    base = model.get_base_model() if adapted else model
    # FSDP makes a class of its own of each module that it is given
    kind: Any = next(kind for kind in type(base).__mro__ if not issubclass(kind, FSDPModule))
    with torch.device("meta"):
        whole: PreTrainedModel = kind(base.config)
        if adapted:
            whole = get_peft_model(whole, model.peft_config[model.active_adapter])
    whole.load_state_dict(weights, assign=True)
    whole.eval()
    return whole


def save_served(model: PreTrainedModel, processor: ProcessorMixin, folder: Path) -> None:
    """Save a trained model, unwrapped, with its processor in `folder`; adapters are merged into the
    weights, and lie in adapter/ too.
    """
    if hasattr(model, "merge_and_unload"):
        model.save_pretrained(str(folder / "adapter"))
        model = model.merge_and_unload()
    # trained in the protocol's numbers, whatever its family wrote before
    setattr(model.config, TRAINED_COORDINATES, str(Coordinates.THOUSANDTHS))
    model.save_pretrained(str(folder))
    processor.save_pretrained(str(folder))
