"""What a route asks for that its planner cannot do, before a study comes for which it fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.knowledge import UNTOLD, Knowledge
from agent.values import Target
from server.rules.catalogue import Catalogue
from server.rules.routing import matches
from server.settings import RouteSettings
from server.settings_faults import did_you_mean


def unknown_to_policy(
    route: RouteSettings, catalogue: Catalogue, policy: str, knowledge: Knowledge
) -> Iterator[str]:
    """Sentences that say which targets of `route` the `policy` of that name does not know, and
    whether the route is for images that the policy was not made for.
    """
    whose = f"route '{route.name}': policy {policy}"
    unknown = [
        (text, target) for text, target in _targets(route, catalogue) if not knowledge.knows(target)
    ]
    names = _known_names(catalogue, knowledge)
    hints = {
        text: did_you_mean(text, names) for text, target in unknown if target.structure is None
    }
    for text, hint in hints.items():
        if hint:
            yield f"{whose} does not know '{text}', which is no structure of the catalogue{hint}"
    rest = [_described(text, target) for text, target in unknown if not hints.get(text)]
    if rest:
        structures = _listed(key.replace("_", " ") for key in knowledge.structures or ())
        yield (
            f"{whose} does not know {_listed(rest)}; take that out of the route's targets, or "
            f"choose another agent.policy. It knows {structures}"
        )
    pattern = route.when.get("Modality", "*")
    suited = (*(knowledge.modalities or ()), *UNTOLD)
    if knowledge.modalities is not None and not any(
        matches({"Modality": pattern}, {"Modality": modality}) for modality in suited
    ):
        yield (
            f"{whose} is made for {_listed(knowledge.modalities)}, and no such image has the "
            f"Modality '{pattern}'; take that condition out, or choose another agent.policy"
        )


def free_text(
    route: RouteSettings, catalogue: Catalogue, policy: str, knowledge: Knowledge
) -> Iterator[str]:
    """A sentence for each target of `route` that is no structure of the catalogue, though `policy`
    may be asked for it.
    """
    for text, target in _targets(route, catalogue):
        if target.structure is None and knowledge.knows(target):
            yield (
                f"route '{route.name}': '{text}' is no structure that is known: policy {policy} "
                "is asked for it in these words, and results code them privately"
                f"{did_you_mean(text, tuple(catalogue.names.keys))}"
            )


def _targets(route: RouteSettings, catalogue: Catalogue) -> Iterator[tuple[str, Target]]:
    """What the site wrote, with each target that it stands for."""
    for text in filter(None, map(str.strip, route.targets)):
        for target in catalogue.targets(text):
            yield text, target


def _described(text: str, target: Target) -> str:
    if target.structure is None:
        return f"'{text}' (no structure of the catalogue)"
    return f"'{target.text}'" + (f" (of '{text}')" if target.text != text else "")


def _known_names(catalogue: Catalogue, knowledge: Knowledge) -> list[str]:
    """Every name for what is known, as the catalogue compares names."""
    structures = set(knowledge.structures or ())
    return [name for name, keys in catalogue.names.keys.items() if structures.issuperset(keys)]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
