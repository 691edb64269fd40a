"""Which policy and segmenter a site that says "auto" gets: the best of those that are installed,
with the reason.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.entries import NEVER
from models.errors import UnknownModel
from models.pair import AUTO, ModelPair
from models.runtime.resources import LanguageOptions, Resources
from models.shipped import POLICIES, SEGMENTERS
from models.weights.weights import State


def choose(policy: str, segmenter: str, resources: Resources) -> ModelPair:
    """The pair that is meant: names as they are said, "auto" resolved by what `resources` reach.
    Loads nothing.
    """
    reasons = []
    if policy == AUTO:
        policy, reason = _best_policy(resources)
        reasons.append(reason)
    if segmenter == AUTO:
        segmenter, reason = _best_segmenter(resources)
        reasons.append(reason)
    return ModelPair(policy, segmenter, tuple(reasons))


def located_model(options: LanguageOptions, weights_dir: Path | None) -> LanguageOptions:
    """The same options with a model in the folder of weights named by its whole path."""
    inside = weights_dir / options.model if weights_dir is not None and options.model else None
    if inside is None or not inside.is_dir():
        return options
    return replace(options, model=str(inside))


def _best_policy(resources: Resources) -> tuple[str, str]:
    for name, entry in POLICIES.items():
        if reason := entry.usable(resources):
            return name, f"policy {name}: {reason}"
    raise UnknownModel("policy", AUTO, tuple(POLICIES))


def _best_segmenter(resources: Resources) -> tuple[str, str]:
    """The highest rank whose weights are here, else the lowest rank; with the reason.

    A plug-in is never taken unasked: installing a package must not change who draws.
    """
    ranked = [item for item in SEGMENTERS.items() if item[1].auto_rank > NEVER]
    ranked.sort(key=lambda item: -item[1].auto_rank)
    missing = ""
    for name, entry in ranked[:-1]:
        weights = entry.weights
        if weights is None or weights.state(resources.weights_dir) is State.HERE:
            place = weights.locate(resources.weights_dir) if weights else "it"
            return name, f"segmenter {name}: {missing or f'{place} is there'}"
        missing = missing or f"{weights.name} is not in models.dir"
    name, _ = ranked[-1]
    return name, f"segmenter {name}: {missing}"
