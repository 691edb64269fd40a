"""`segnode train sft`: what trains, loaded where that command runs."""

from __future__ import annotations

from models.training.sft import SftResult, SftSettings, train_sft

__all__ = ["SftResult", "SftSettings", "train_sft"]
