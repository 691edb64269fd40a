"""What routes ask for by type: the services, who is asking, which page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Query, Request, Security
from fastapi.security import HTTPBearer

from server.http.ports import Services
from server.http.readiness import Readiness
from server.http.waiting import Counter, Shared

LARGEST_PAGE = 1000
LARGEST_OFFSET = 2**31 - 1


@dataclass(frozen=True)
class Page:
    """A part of a list: `limit` entries from the zero-based `offset` on."""

    limit: int
    offset: int


@dataclass(frozen=True)
class Watch:
    """What is asked of the node as a whole, once for all who ask at the same time, and threads for calls that wait."""

    readiness: Shared[Readiness]
    exposition: Shared[str]
    echoes: Counter
    completions: Counter


async def services(request: Request) -> Services:
    """What the API was made with."""
    return cast("Services", request.app.state.services)


async def watch(request: Request) -> Watch:
    """What the API was made with."""
    return cast("Watch", request.app.state.watch)


async def actor(request: Request) -> str:
    """Who is asking; the guard in front of all routes has put it there."""
    return cast("str", request.state.actor)


async def page(
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = LARGEST_PAGE,
    offset: Annotated[int, Query(ge=0, le=LARGEST_OFFSET)] = 0,
) -> Page:
    """The page of a list."""
    return Page(limit, offset)


WithServices = Annotated[Services, Depends(services)]
WithWatch = Annotated[Watch, Depends(watch)]
Asker = Annotated[str, Depends(actor)]
WithPage = Annotated[Page, Depends(page)]
# the guard has decided already; this only says in the API's description that a token is needed
TOKEN = Security(HTTPBearer(auto_error=False, description="the token in <storage.dir>/token"))
