"""The pages over a record in memory: a browser that is logged in, and one that is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dicom_node.fakes import FakeDestination
from server.http.fakes import FakeCounting, FakePictures, FakeRecord
from server.pages.app import create_pages
from server.pages.fakes import FakeOverview
from server.pages.ports import PageServices
from tests.support.http.page_site import STUDY, TOKEN, page_services_of

ORIGIN = "http://node.example"

Fields = Mapping[str, str | list[str]]
MakeBrowser = Callable[..., "Browser"]


class Browser:
    """A client of the pages that sends what a browser sends, and follows no redirect."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def get(self, place: str, **headers: str) -> Any:
        """A page."""
        return self.client.get(place, headers=headers, follow_redirects=False)

    def send(self, place: str, fields: Fields | None = None, origin: str = ORIGIN) -> Any:
        """A form, as from a page of the node or of another `origin` ("" for none)."""
        headers = {"Origin": origin} if origin else {}
        return self.client.post(place, data=fields or {}, headers=headers, follow_redirects=False)


@pytest.fixture
def record() -> FakeRecord:
    """A record that holds one complete study, `study`."""
    filled = FakeRecord()
    filled.add_study(STUDY)
    return filled


@pytest.fixture
def study() -> str:
    """The UID of the study in the record."""
    return STUDY


@pytest.fixture
def token() -> str:
    """The token that opens the node."""
    return TOKEN


@pytest.fixture
def overview(record: FakeRecord, study: str) -> FakeOverview:
    """What pages show of the record; the study is a CT."""
    shown = FakeOverview(record)
    shown.attributes_of[study] = [
        {"Modality": "CT", "StudyDescription": "Abdomen", "StudyDate": "20260102"}
    ]
    return shown


@pytest.fixture
def pacs() -> FakeDestination:
    """The one destination."""
    return FakeDestination("pacs")


@pytest.fixture
def counting(record: FakeRecord) -> FakeCounting:
    """Numbers about the record, and parts of the node that all move."""
    return FakeCounting(record)


@pytest.fixture
def pictures() -> FakePictures:
    """What draws turns."""
    return FakePictures()


@pytest.fixture
def page_services(
    record: FakeRecord,
    overview: FakeOverview,
    counting: FakeCounting,
    pictures: FakePictures,
    pacs: FakeDestination,
    tmp_path: Path,
) -> PageServices:
    """What the pages are made of: a destination `pacs` and a route `abdomen`."""
    return page_services_of(record, overview, counting, pictures, pacs, tmp_path)


@pytest.fixture
def make_browser(page_services: PageServices) -> MakeBrowser:
    """A browser in front of these pages, logged in or not."""

    def make(pages: PageServices = page_services, *, logged_in: bool = True) -> Browser:
        # a fault becomes an answer, as in a real server
        client = TestClient(create_pages(pages), base_url=ORIGIN, raise_server_exceptions=False)
        browser = Browser(client)
        if logged_in:
            assert browser.send("/login", {"token": TOKEN}).status_code == 303
        return browser

    return make


@pytest.fixture
def browser(make_browser: MakeBrowser) -> Browser:
    """A browser that is logged in."""
    return make_browser()


@pytest.fixture
def stranger(make_browser: MakeBrowser) -> Browser:
    """A browser that is not."""
    return make_browser(logged_in=False)
