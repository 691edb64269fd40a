"""What the pages need of the rest of the server; the fake is in server/pages/fakes.py."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from server.http.ports import Services
from server.http.tokens import Tokens
from server.record.views import AuditView, Page, RequestView, StudyFacts, TurnView
from server.rules.completion import StructureNames
from server.settings import NodeSettings, RouteSettings
from server.values import RequestState


class Overview(Protocol):
    """The part of server.record.overviews.overview.RecordOverview that pages show.

    Every method may raise RecordError.
    """

    def requests(
        self,
        page: Page,
        *,
        states: Collection[RequestState] = (),
        study_instance_uid: str | None = None,
        undelivered: bool = False,
    ) -> tuple[RequestView, ...]:
        """A page of requests whole, of these states (all where there are none) and this study.

        With `undelivered` only those with a delivery that was given up.
        """

    def facts(self, study_instance_uids: Collection[str]) -> Mapping[str, StudyFacts]:
        """What studies are, by their UIDs; one that holds no image has none."""

    def turns(self, request_id: str, first: int, most: int) -> tuple[TurnView, ...]:
        """At most `most` turns of a request from the one numbered `first` on; UnknownRequest."""

    def count_turns(self, request_id: str) -> int:
        """How many turns a request has."""

    def trail(self, request_id: str, most: int) -> tuple[AuditView, ...]:
        """The last `most` lines of a request's audit trail, oldest first."""

    def attributes(self, study_instance_uid: str) -> Sequence[Mapping[str, str]]:
        """What routes match on, each distinct set once, without our own results; UnknownStudy."""


@dataclass(frozen=True)
class Site:
    """What the site has configured, as far as pages show it.

    `models` says in words who plans and draws, or raises one of the rooms' errors; `storage` is
    where all is kept.
    """

    node: NodeSettings
    storage: Path
    quiet_s: float
    routes: tuple[RouteSettings, ...]
    structures: StructureNames
    models: Callable[[], str]


@dataclass(frozen=True)
class PageServices:
    """All that the pages work with: what the API works with, and what they alone show."""

    services: Services
    overview: Overview
    site: Site
    tokens: Tokens
