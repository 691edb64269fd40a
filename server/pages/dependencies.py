"""What the routes of pages ask for by type: the services, who is asking, which part of a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar, cast

from fastapi import Depends, Path, Query, Request

from server.http.dependencies import LARGEST_CURSOR, Numbered
from server.http.waiting import Counter
from server.pages.login import Logins
from server.pages.ports import PageServices
from server.record.views import Page

ROWS = 25
"""Of a list on one page."""


Row = TypeVar("Row", bound=Numbered)


@dataclass(frozen=True)
class PageCalls:
    """Calls that wait for somebody else, as server.http.dependencies.SharedCalls has them."""

    echoes: Counter
    pictures: Counter
    completions: Counter


@dataclass(frozen=True)
class ListedRows(Generic[Row]):
    """The rows of a page, and the cursor of the next one; None on the last."""

    rows: tuple[Row, ...]
    older: int | None


async def page_services(request: Request) -> PageServices:
    """What the pages were made with."""
    return cast("PageServices", request.app.state.pages)


async def page_calls(request: Request) -> PageCalls:
    """What the pages were made with."""
    return cast("PageCalls", request.app.state.calls)


async def page_logins(request: Request) -> Logins:
    """What the pages were made with."""
    return cast("Logins", request.app.state.logins)


async def page_actor(request: Request) -> str:
    """Who is asking; the guard in front of the pages has put it there."""
    return cast("str", request.state.actor)


async def newest_first(
    cursor: Annotated[int | None, Query(ge=0, le=LARGEST_CURSOR)] = None,
) -> Page:
    """The part of a list that is asked for, newest first, with one row more; see `listed`."""
    return Page(ROWS + 1, cursor, newest=True)


def listed(rows: Sequence[Row]) -> ListedRows[Row]:
    """The rows of a page that was read by `newest_first`."""
    shown = tuple(rows[:ROWS])
    return ListedRows(shown, shown[-1].number if len(rows) > ROWS else None)


RequestId = Annotated[str, Path(max_length=64, pattern=r"^[0-9A-Za-z.-]+$")]
StudyUid = Annotated[str, Path(max_length=64, pattern=r"^[\x21-\x7e]+$")]
WithPages = Annotated[PageServices, Depends(page_services)]
WithPageCalls = Annotated[PageCalls, Depends(page_calls)]
WithLogins = Annotated[Logins, Depends(page_logins)]
PageActor = Annotated[str, Depends(page_actor)]
NewestFirst = Annotated[Page, Depends(newest_first)]
