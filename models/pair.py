"""A policy and a segmenter by their names: what a request, a pool of models and a record speak of.

Nothing but the standard library, for processes that load no model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

AUTO = "auto"
"""The name that means "the best that is here"; the worker looks."""


@dataclass(frozen=True)
class ModelPair:
    """Who plans and who draws, by the names in configuration.

    `reasons` has a sentence for each that was meant by "auto"; pairs are equal whatever they are.
    """

    policy: str
    segmenter: str
    reasons: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        names = f"{self.policy} + {self.segmenter}"
        return f"{names} ({'; '.join(self.reasons)})" if self.reasons else names
