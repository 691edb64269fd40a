"""Routes are data: a study that matches gets a request. No expressions, nothing is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.values import Target
from dicom_node.routable_keywords import ROUTABLE_KEYWORDS
from models.pair import ModelPair
from server.errors import (
    BadTarget,
    ConfigurationError,
    NoTargets,
    RequestError,
    TooManyTargets,
    UnknownDestination,
)
from server.rules.catalogue import Catalogue
from server.rules.synonyms import fold
from server.settings import RouteSettings
from server.settings_faults import did_you_mean

MAX_TEXT = 200
LONGEST_TEXT = 1024
"""Characters of an attribute that are compared; no description that a route is written for is
longer (PS3.5: LO has 64).
"""


def matches(when: Mapping[str, str], attributes: Mapping[str, str]) -> bool:
    """Whether every pattern fits: `*` any text, `?` one character, case ignored.

    A missing attribute is empty.

    >>> matches({"Modality": "CT", "StudyDescription": "*abdomen*"}, {"Modality": "CT"})
    False
    """
    return all(_fits(pattern, attributes.get(keyword, "")) for keyword, pattern in when.items())


def _fits(pattern: str, text: str) -> bool:
    """Whether the whole of `text` fits, its first LONGEST_TEXT characters where there are more.

    Each piece between two `*` is looked for once, at the first place where it fits: an earlier one
    leaves most to those that follow, so nothing is ever tried again. At most len(pattern) *
    len(text) characters are compared.
    """
    # not fnmatch: its [brackets] are not wildcards of DICOM (PS3.4 C.2.2.2.4)
    first, *others = pattern.lower().split("*")
    text = text[:LONGEST_TEXT].lower()
    if not others:
        return len(first) == len(text) and _piece_at(first, text, 0)
    *middle, last = others
    end = len(text) - len(last)
    if len(first) > end or not (_piece_at(first, text, 0) and _piece_at(last, text, end)):
        return False
    place = len(first)
    for piece in middle:
        match_at = next(
            (at for at in range(place, end - len(piece) + 1) if _piece_at(piece, text, at)), None
        )
        if match_at is None:
            return False
        place = match_at + len(piece)
    return True


def _piece_at(piece: str, text: str, place: int) -> bool:
    """Whether `text` goes on with `piece` at `place`, `?` being any character."""
    if "?" not in piece:
        return text.startswith(piece, place)
    return all(c in ("?", text[place + index]) for index, c in enumerate(piece))


ModelSelector = Callable[[str | None, str | None], ModelPair]
"""Who works for a request that names this policy and this segmenter (None: the site's own);
models.errors.
"""


def as_said(policy: str | None, segmenter: str | None) -> ModelPair:
    """An ModelSelector that leaves what nobody chose to the worker."""
    return ModelPair(policy or "auto", segmenter or "auto")


@dataclass(frozen=True)
class Rules:
    """What the site has configured about requests: names it knows, routes, limits.

    `destinations` all configured names; `max_targets` most structures one request may ask for;
    `pair` says who works.
    """

    catalogue: Catalogue
    destinations: tuple[str, ...]
    routes: tuple[RouteSettings, ...] = ()
    max_targets: int = 200
    pair: ModelSelector = as_said

    def __post_init__(self) -> None:
        if faults := tuple(self._faults()):
            raise ConfigurationError(*faults)

    def _faults(self) -> Iterator[str]:
        """Why routes cannot work, whoever plans."""
        for route in self.routes:
            for keyword in set(route.when) - set(ROUTABLE_KEYWORDS):
                yield f"route '{route.name}': '{keyword}' cannot be matched on" + (
                    did_you_mean(keyword, ROUTABLE_KEYWORDS)
                    or f"; use one of {', '.join(ROUTABLE_KEYWORDS)}"
                )
            try:
                self.targets(route.targets)
            except RequestError as error:
                yield f"route '{route.name}': {error}"

    def matching(self, instances: Iterable[Mapping[str, str]]) -> tuple[RouteSettings, ...]:
        """The routes of which one instance of the study fits every pattern."""
        attributes_of = list(instances)
        return tuple(
            route
            for route in self.routes
            if any(matches(route.when, attributes) for attributes in attributes_of)
        )

    def targets(self, texts: Sequence[str]) -> tuple[Target, ...]:
        """What is asked for, each structure once.

        NoTargets, TooManyTargets, BadTarget say what is wrong.
        """
        if not texts:
            raise NoTargets("nothing is asked for: name at least one target, such as 'liver'")
        self._check_count(len(texts))
        for position, text in enumerate(texts, start=1):
            if not text.strip() or len(text) > MAX_TEXT or not text.isprintable():
                raise BadTarget(
                    f"target {position} is empty, longer than {MAX_TEXT} characters "
                    "or not plain text: say which structure is meant"
                )
        named = [target for text in texts for target in self.catalogue.targets(text.strip())]
        unique: dict[str, Target] = {}
        for target in named:
            unique.setdefault(target.structure or fold(target.text), target)
        self._check_count(len(unique))
        return tuple(unique.values())

    def _check_count(self, count: int) -> None:
        if count > self.max_targets:
            raise TooManyTargets(
                f"{count} targets are too many: one request may ask for {self.max_targets} "
                "(agent.max_targets)"
            )

    def where_to(
        self, requested: Sequence[str] | None, instances: Iterable[Mapping[str, str]]
    ) -> tuple[str, ...]:
        """The destinations named, else those of the first matching route, else all.

        UnknownDestination for a name that is not configured.
        """
        if requested is not None:
            unknown = sorted(set(requested) - set(self.destinations))
            if unknown:
                raise UnknownDestination(
                    f"no destination is called {', '.join(unknown)}; configured are: "
                    f"{', '.join(self.destinations) or 'none'}"
                )
            return tuple(dict.fromkeys(requested))
        for route in self.matching(instances):
            return route.destinations or self.destinations
        return self.destinations

    def holds_doubtful(self, instances: Iterable[Mapping[str, str]]) -> bool:
        """Whether results in doubt wait for a person, as the first matching route says."""
        return any(route.doubtful == "hold" for route in self.matching(instances)[:1])
