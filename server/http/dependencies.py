"""What routes ask for by type: the services, who is asking, which page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Protocol, TypeVar, cast

from fastapi import Depends, Query, Request, Response, Security
from fastapi.security import HTTPBearer

from server.http.ports import Services
from server.http.readiness import Readiness
from server.http.waiting import Counter, Shared
from server.record.views import PAGE, Page

LARGEST_PAGE = 1000
LARGEST_OFFSET = 2**31 - 1
LARGEST_CURSOR = 2**63 - 1


class Numbered(Protocol):
    """A row of a list with its place in the order of lists."""

    @property
    def number(self) -> int:
        """Rises with every row that is added."""


Row = TypeVar("Row", bound=Numbered)


class Order(StrEnum):
    """In which order a list comes."""

    OLDEST = "oldest"
    NEWEST = "newest"


@dataclass(frozen=True)
class ListPart:
    """A part of a list: `limit` entries from the zero-based `offset` on."""

    limit: int
    offset: int


@dataclass(frozen=True)
class SharedCalls:
    """Calls about the whole node, shared by concurrent callers, and threads for slow calls."""

    readiness: Shared[Readiness]
    exposition: Shared[str]
    echoes: Counter
    completions: Counter
    pictures: Counter


async def services(request: Request) -> Services:
    """What the API was made with."""
    return cast("Services", request.app.state.services)


async def shared_calls(request: Request) -> SharedCalls:
    """What the API was made with."""
    return cast("SharedCalls", request.app.state.shared_calls)


async def actor(request: Request) -> str:
    """Who is asking; the guard in front of all routes has put it there."""
    return cast("str", request.state.actor)


async def part(
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = LARGEST_PAGE,
    offset: Annotated[int, Query(ge=0, le=LARGEST_OFFSET)] = 0,
) -> ListPart:
    """The part of a list that is asked for."""
    return ListPart(limit, offset)


async def page(
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = PAGE,
    cursor: Annotated[
        int | None,
        Query(ge=0, le=LARGEST_CURSOR, description="from the Link header of the page before"),
    ] = None,
    order: Order = Order.OLDEST,
) -> Page:
    """The page of a list that is asked for."""
    return Page(limit, cursor, order == Order.NEWEST)


def one_more(requested: Page) -> Page:
    """The page with one row beyond it, which tells whether there is a next one; see `linked`."""
    return replace(requested, limit=requested.limit + 1)


def linked(
    request: Request, response: Response, requested: Page, rows: Sequence[Row]
) -> tuple[Row, ...]:
    """The rows of the page.

    Where there is one more, the answer's Link header names the next page (RFC 8288).
    """
    page_rows = tuple(rows[: requested.limit])
    if len(rows) > len(page_rows):
        following = request.url.include_query_params(cursor=page_rows[-1].number)
        response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return page_rows


WithServices = Annotated[Services, Depends(services)]
WithSharedCalls = Annotated[SharedCalls, Depends(shared_calls)]
Asker = Annotated[str, Depends(actor)]
WithPage = Annotated[Page, Depends(page)]
WithPart = Annotated[ListPart, Depends(part)]
# the guard has decided already; this only says in the API's description that a token is needed
TOKEN = Security(HTTPBearer(auto_error=False, description="the token in <storage.dir>/token"))
