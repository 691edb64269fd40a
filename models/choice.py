"""Which policy and segmenter a site that says "auto" gets: the best of those that are installed,
with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from models.runtime.resources import LanguageOptions, Resources
from models.weights.manifest import MEDSAM2_LATEST
from models.weights.weights import State

AUTO = "auto"


@dataclass(frozen=True)
class Choice:
    """A policy and a segmenter by name, and in `why` a sentence for each that was chosen here."""

    policy: str
    segmenter: str
    why: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = f"{self.policy} + {self.segmenter}"
        return f"{said} ({'; '.join(self.why)})" if self.why else said


def choose(policy: str, segmenter: str, resources: Resources) -> Choice:
    """The pair that is meant: names as they are said, "auto" resolved by what `resources` reach.
    Loads nothing.
    """
    why = []
    if policy == AUTO:
        policy, reason = _best_policy(resources)
        why.append(reason)
    if segmenter == AUTO:
        segmenter, reason = _best_segmenter(resources)
        why.append(reason)
    return Choice(policy, segmenter, tuple(why))


def located_model(options: LanguageOptions, weights_dir: Path | None) -> LanguageOptions:
    """The same options with a model in the folder of weights named by its whole path."""
    inside = weights_dir / options.model if weights_dir is not None and options.model else None
    if inside is None or not inside.is_dir():
        return options
    return replace(options, model=str(inside))


def _best_policy(resources: Resources) -> tuple[str, str]:
    language = resources.language
    if language.endpoints and language.model:
        return "openai", f"policy openai: language.endpoints and model '{language.model}' are set"
    if language.model and Path(language.model).expanduser().is_dir():
        return "transformers", f"policy transformers: {language.model} is there"
    return "locator", "policy locator: [language] names no model that is there"


def _best_segmenter(resources: Resources) -> tuple[str, str]:
    if MEDSAM2_LATEST.state(resources.weights_dir) is State.HERE:
        place = MEDSAM2_LATEST.locate(resources.weights_dir)
        return "medsam2", f"segmenter medsam2: {place} is there"
    return "litemedsam", f"segmenter litemedsam: {MEDSAM2_LATEST.name} is not in models.dir"
