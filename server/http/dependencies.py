"""What routes ask for by type: the services, who is asking, which page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Query, Request, Security
from fastapi.security import HTTPBearer

from server.http.ports import Services

LARGEST_PAGE = 1000
LARGEST_OFFSET = 2**31 - 1


@dataclass(frozen=True)
class Page:
    """A part of a list: `limit` entries from the zero-based `offset` on."""

    limit: int
    offset: int


def services(request: Request) -> Services:
    """What the API was made with."""
    return cast("Services", request.app.state.services)


def actor(request: Request) -> str:
    """Who is asking; the guard in front of all routes has put it there."""
    return cast("str", request.state.actor)


def page(
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = LARGEST_PAGE,
    offset: Annotated[int, Query(ge=0, le=LARGEST_OFFSET)] = 0,
) -> Page:
    """The page of a list."""
    return Page(limit, offset)


WithServices = Annotated[Services, Depends(services)]
Asker = Annotated[str, Depends(actor)]
WithPage = Annotated[Page, Depends(page)]
# the guard has decided already; this only says in the API's description that a token is needed
TOKEN = Security(HTTPBearer(auto_error=False, description="the token in <storage.dir>/token"))
