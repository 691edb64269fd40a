"""Why a study matches a route, or does not: each condition with what the study holds there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.rules.routing import matches
from server.settings import RouteSettings

MOST_ROUTES = 5
"""Routes that the sentence about a study names."""


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

    @property
    def why_not(self) -> str | None:
        """Why the route does not match, in its own words alone: what the study holds may be a
        patient's.
        """
        if self.matches:
            return None
        failing = [
            f"{condition.keyword} = '{condition.pattern}'"
            for condition in self.conditions
            if not condition.holds
        ]
        if not failing:
            return "no instance fits all its conditions together"
        return f"no instance has {' or '.join(failing)}"


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


def why_unrouted(explanations: Sequence[RouteExplained]) -> str:
    """Why none of all routes matches a study, in one sentence that names the first of them.

    >>> modality = ConditionExplained("Modality", "MR", False, ("CT",))
    >>> why_unrouted([RouteExplained("head", False, (modality,))])
    "no route of the 1 configured matches: head (no instance has Modality = 'MR')"
    """
    if not explanations:
        return "no routes are configured"
    reasons = [f"{each.name} ({each.why_not})" for each in explanations[:MOST_ROUTES]]
    more = len(explanations) - len(reasons)
    rest = [f"{more} more"] if more else []
    return f"no route of the {len(explanations)} configured matches: {', '.join([*reasons, *rest])}"
