"""Why a study matches a route, or does not: each condition with what the study holds there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.rules.routing import matches
from server.settings import RouteSettings


@dataclass(frozen=True)
class ConditionExplained:
    """One pattern of a route: whether any instance fits it, and what the study's instances hold
    there, each text once ("" for what is missing).
    """

    keyword: str
    pattern: str
    holds: bool
    values: tuple[str, ...]


@dataclass(frozen=True)
class RouteExplained:
    """One route: whether one instance fits all its conditions."""

    name: str
    matches: bool
    conditions: tuple[ConditionExplained, ...]

    @property
    def never_together(self) -> bool:
        """Whether each condition holds for some instance, but no instance fits them all."""
        return not self.matches and all(condition.holds for condition in self.conditions)


def explained(route: RouteSettings, instances: Sequence[Mapping[str, str]]) -> RouteExplained:
    """How `route` judges a study of `instances` (attributes by keyword), which must not be
    empty.
    """
    return RouteExplained(
        route.name,
        any(matches(route.when, attributes) for attributes in instances),
        tuple(
            ConditionExplained(
                keyword,
                pattern,
                any(matches({keyword: pattern}, attributes) for attributes in instances),
                tuple(dict.fromkeys(attributes.get(keyword, "") for attributes in instances)),
            )
            for keyword, pattern in route.when.items()
        ),
    )
