"""The model that a run begins with and the one that it leaves, as serving loads them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

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
