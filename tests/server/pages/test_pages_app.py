"""Every page: its headers, what it loads, that no text in it runs, what a wrong address gets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from server.errors import RecordUnavailable
from server.http.app import create_app
from server.http.fakes import FakeRecord
from server.pages.app import ApiAndPages, create_pages
from server.pages.fakes import FakeOverview
from server.pages.headers import CONTENT_SECURITY_POLICY
from server.pages.ports import PageServices
from server.values import RequestState
from tests.server.pages.conftest import Browser
from tests.support.http.filled_record import SCRIPT, fill, poison

PAGES = ["/", "/studies", "/destinations", "/undelivered", "/node", "/setup", "/login"]


class Seen(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def all_pages(study: str, ids: list[str]) -> Iterator[str]:
    """The address of every page there is."""
    yield from (*PAGES, f"/studies/{study}", "/nowhere", "/?state=open", "/?state=wrong")
    yield from (f"/requests/{each}?turn={turn}" for each in ids for turn in (1, 3))


@pytest.fixture
def addresses(record: FakeRecord, study: str) -> list[str]:
    """Every page of a record that has something of each kind."""
    return list(all_pages(study, list(fill(record, study).values())[:1]))


def test_every_page_loads_only_what_is_its_own(browser: Browser, addresses: list[str]) -> None:
    for address in addresses:
        answer = browser.get(address)

        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY, address
        assert "unsafe" not in CONTENT_SECURITY_POLICY
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        seen = Seen(answer.text)
        assert ("html", {"lang": "en"}) in seen.tags
        for tag, attributes in seen.tags:
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
            assert tag != "style"
            assert tag != "script" or attributes.get("src", "")
            for name in ("src", "href", "action"):
                assert re.match(r"[/?#]([^/]|$)", attributes.get(name) or "/"), (
                    address,
                    attributes,
                )


def test_every_field_has_its_label(browser: Browser, addresses: list[str]) -> None:
    for address in addresses:
        tags = Seen(browser.get(address).text).tags
        labelled = {attributes["for"] for tag, attributes in tags if "for" in attributes}
        for tag, attributes in tags:
            if tag in ("input", "select") and attributes.get("type") not in ("hidden", "checkbox"):
                assert attributes.get("aria-label") or attributes.get("id") in labelled, address


def test_no_text_of_the_record_runs(
    browser: Browser, record: FakeRecord, overview: FakeOverview, study: str
) -> None:
    ids = poison(record, study, list(RequestState))
    overview.attributes_of[study] = [
        dict.fromkeys(("Modality", "StudyDescription", "StudyDate", "BodyPartExamined"), SCRIPT)
    ]
    shown = 0
    for address in all_pages(study, ids):
        answer = browser.get(address)

        assert "<script>" not in answer.text, address
        assert "<img src=x" not in answer.text, address
        assert not [a for _, a in Seen(answer.text).tags if "onerror" in a], address
        assert answer.status_code < 500
        shown += answer.text.count("&lt;script&gt;document.title")
    assert shown > 100


@pytest.mark.parametrize("place", ["/?study=", "/login?next=", "/nowhere/"])
def test_no_text_of_an_address_runs(browser: Browser, place: str) -> None:
    answer = browser.get(place + "%22%3E%3Cscript%3Ealert(1)%3C/script%3E")

    assert "<script>" not in answer.text
    assert answer.status_code < 500


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/?state=NOTHING", 422),
        ("/?state=%00", 422),
        ("/?study=%00", 422),
        ("/?study=%C3%A9", 422),
        ("/?study=1.2%203.4", 422),
        ("/?study=" + "1" * 65, 422),
        ("/?cursor=x", 422),
        ("/?cursor=-1", 422),
        ("/?cursor=9223372036854775808", 422),
        ("/studies?cursor=1e3", 422),
        ("/undelivered?cursor=%00", 422),
        ("/studies/%00", 404),
        ("/studies/1.2.3", 404),
        ("/studies/" + "1" * 65, 404),
        ("/requests/%00", 404),
        ("/requests/nobody", 404),
        ("/requests/nobody/turns/0/picture.png", 404),
        ("/requests/nobody/turns/x/picture.png", 404),
        ("/structures?begin=" + "x" * 201, 422),
        ("/nowhere", 404),
        ("/static/0/pages.css", 404),
        ("/static/0/..%2fpages.css", 404),
    ],
)
def test_a_wrong_address_gets_a_clear_page(browser: Browser, address: str, status: int) -> None:
    answer = browser.get(address)

    assert answer.status_code == status
    assert answer.text.strip()
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("turn", ["0", "-1", "x", "41", "2147483648", ""])
def test_a_turn_that_is_not_there_gets_a_clear_page(
    browser: Browser, record: FakeRecord, study: str, turn: str
) -> None:
    ids = fill(record, study)

    answer = browser.get(f"/requests/{ids['done']}?turn={turn}")

    assert answer.status_code in (404, 422)
    assert "<h1>" in answer.text


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    name=st.sampled_from(["state", "study", "cursor", "turn", "next", "begin"]),
    text=st.text(max_size=80),
)
def test_nothing_in_a_query_makes_a_page_fail(browser: Browser, name: str, text: str) -> None:
    for place in ("/", "/studies", "/login", "/structures", "/undelivered"):
        answer = browser.client.get(place, params={name: text}, follow_redirects=False)

        assert answer.status_code < 500


def test_a_form_where_there_is_none_gets_a_clear_page(browser: Browser) -> None:
    answer = browser.send("/studies")

    assert answer.status_code == 405
    assert "<h1>This cannot be done here</h1>" in answer.text


def test_without_a_database_pages_say_so(browser: Browser, record: FakeRecord) -> None:
    record.away = RecordUnavailable("PostgreSQL does not answer (connection refused)")

    answer = browser.get("/")

    assert answer.status_code == 503
    assert "PostgreSQL does not answer (connection refused)." in answer.text
    assert browser.get("/node").status_code == 200


def test_a_fault_of_the_node_is_a_page_with_its_headers(
    browser: Browser, record: FakeRecord
) -> None:
    record.away = ZeroDivisionError("a secret")

    answer = browser.get("/")

    assert answer.status_code == 500
    assert "a secret" not in answer.text
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY


def test_files_may_be_kept_and_are_found(browser: Browser) -> None:
    tags = Seen(browser.get("/").text).tags
    files = [a.get("href") or a.get("src") for tag, a in tags if tag in ("link", "script")]

    assert len(files) == 3
    for file in files:
        answer = browser.get(str(file))
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/api/v1/studies", "application/problem+json"),
        ("/health/live", "application/json"),
        ("/metrics", "text/plain"),
        ("/login", "text/html"),
        ("/nowhere", "text/html"),
    ],
)
def test_programs_and_people_each_have_their_own(
    page_services: PageServices, path: str, content_type: str
) -> None:
    both = ApiAndPages(
        create_app(page_services.services, page_services.tokens), create_pages(page_services)
    )

    answer = TestClient(both).get(path)

    assert answer.headers["content-type"].startswith(content_type)


def test_a_cookie_opens_no_api(
    page_services: PageServices, make_browser: Callable[..., Browser], study: str
) -> None:
    cookies = dict(make_browser().client.cookies)
    api = TestClient(create_app(page_services.services, page_services.tokens), cookies=cookies)

    assert cookies
    assert api.get(f"/api/v1/studies/{study}").status_code == 401
