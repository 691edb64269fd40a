"""Which page of a list is asked for, what is refused, and the way to the next one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from fastapi import FastAPI, Request, Response
from starlette.testclient import TestClient

from server.http.dependencies import (
    LARGEST_OFFSET,
    LARGEST_PAGE,
    WithPage,
    WithPart,
    linked,
    one_more,
)
from server.record.views import PAGE


@dataclass(frozen=True)
class Row:
    """A row of a list."""

    number: int


@pytest.fixture(scope="module")
def client() -> TestClient:
    """An application with seven rows in pages, and one that says its part."""
    app = FastAPI()

    @app.get("/rows")
    async def rows(request: Request, response: Response, asked: WithPage) -> list[int]:
        wanted = one_more(asked)
        assert wanted.limit == asked.limit + 1
        numbers = [n for n in range(1, 8) if wanted.after is None or n > wanted.after]
        listed = [Row(number) for number in numbers[: wanted.limit]]
        return [row.number for row in linked(request, response, asked, listed)]

    @app.get("/page")
    async def page(asked: WithPage) -> list[int | bool | None]:
        return [asked.limit, asked.after, asked.newest]

    @app.get("/part")
    async def part(asked: WithPart) -> list[int]:
        return [asked.limit, asked.offset]

    return TestClient(app)


def test_links_lead_through_the_list_and_end(client: TestClient) -> None:
    numbers, pages, address = [], 0, "/rows?limit=3&order=oldest&study=1.2%2F3"
    while address:
        answer = client.get(address)
        numbers += answer.json()
        pages += 1
        address = answer.links["next"]["url"] if "Link" in answer.headers else ""
        # what else was asked stays in the link, and the host is not in it: a proxy has another
        assert not address or address.startswith("/rows?")
        assert not address or "study=1.2%2F3" in address
        assert address.count("cursor=") <= 1

    assert numbers == [1, 2, 3, 4, 5, 6, 7]
    assert pages == 3


def test_a_page_that_is_just_full_has_no_next_one(client: TestClient) -> None:
    answer = client.get("/rows?limit=7")

    assert answer.json() == [1, 2, 3, 4, 5, 6, 7]
    assert "Link" not in answer.headers


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("/page", [PAGE, None, False]),
        (f"/page?limit={LARGEST_PAGE}&order=newest&cursor=0", [LARGEST_PAGE, 0, True]),
        (f"/page?limit=1&cursor={2**63 - 1}", [1, 2**63 - 1, False]),
        ("/part", [LARGEST_PAGE, 0]),
        (f"/part?limit=1&offset={LARGEST_OFFSET}", [1, LARGEST_OFFSET]),
    ],
)
def test_the_bounds_themselves_are_taken(
    client: TestClient, address: str, taken: list[object]
) -> None:
    assert client.get(address).json() == taken


@pytest.mark.parametrize(
    "address",
    [
        "/page?limit=0",
        f"/page?limit={LARGEST_PAGE + 1}",
        "/page?cursor=-1",
        f"/page?cursor={2**63}",  # PostgreSQL's bigint would overflow
        "/page?cursor=",
        "/page?order=Newest",
        "/part?limit=0",
        f"/part?limit={LARGEST_PAGE + 1}",
        "/part?offset=-1",
        f"/part?offset={2**31}",
    ],
)
def test_what_is_beyond_is_refused(client: TestClient, address: str) -> None:
    assert client.get(address).status_code == 422
