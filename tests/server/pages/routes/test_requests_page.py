"""The list of requests: what is in it, which part, and what can be done about one."""

from __future__ import annotations

import re
from html import unescape

import pytest

from server.http.fakes import FakeRecord
from server.pages.dependencies import ROWS
from server.values import DeliveryState, RequestState
from tests.server.pages.conftest import Browser
from tests.support.http.filled_record import ask, deliver, fill

SHOWN = re.compile(r'id="request-([^"]+)"')


def shown(text: str) -> list[str]:
    """The ids of the requests on a page, in their order."""
    return SHOWN.findall(text)


def test_requests_are_shown_newest_first(browser: Browser, record: FakeRecord, study: str) -> None:
    ids = fill(record, study)

    text = browser.get("/").text

    assert shown(text) == sorted(ids.values(), reverse=True)
    assert text.count("CT · Abdomen · 2026-01-02") == len(ids)
    assert "encoding slices: 42 of 120" in text
    assert 'value="35"' in text  # 42 of 120 in percent
    assert "Drawn, 1523 ml" in text
    assert "slices 12 and 13 are missing: send the study again" in text


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=DONE", ["done"]),
        ("state=open", ["waiting", "sending", "working"]),
        ("study=1.9", []),
        ("state=&study=&cursor=3", ["working", "done"]),
        ("state=CANCELLED", []),
    ],
)
def test_filters_pick_some(
    browser: Browser, record: FakeRecord, study: str, query: str, names: list[str]
) -> None:
    ids = fill(record, study)

    answer = browser.get(f"/?{query}")

    assert answer.status_code == 200
    assert shown(answer.text) == [ids[name] for name in names]


def test_pages_of_the_list_hold_everything_once(
    browser: Browser, record: FakeRecord, study: str
) -> None:
    views = [ask(record, study, "liver") for _ in range(2 * ROWS + 3)]
    place, seen = "/?state=QUEUED", list[str]()
    while place:
        text = browser.get(place).text
        seen += shown(text)
        link = re.search(r'<a href="([^"]+)" rel="next">', text)
        place = unescape(link[1]) if link else ""

    assert seen == [view.id for view in reversed(views)]


def test_only_the_first_page_changes_by_itself(
    browser: Browser, record: FakeRecord, study: str
) -> None:
    ask(record, study, "liver", state=RequestState.DONE)
    assert 'data-live="10"' in browser.get("/").text

    ask(record, study, "liver")
    assert 'data-live="2"' in browser.get("/").text
    assert "data-live" not in browser.get("/?cursor=2").text


def test_a_request_is_cancelled_and_tried_again(
    browser: Browser, record: FakeRecord, study: str
) -> None:
    ids = fill(record, study)

    cancelled = browser.send(f"/requests/{ids['working']}/cancel", {"next": "/?state=open"})
    tried = browser.send(f"/requests/{ids['failed']}/retry")

    assert (cancelled.status_code, cancelled.headers["location"]) == (303, "/?state=open")
    assert (tried.status_code, tried.headers["location"]) == (303, f"/requests/{ids['failed']}")
    assert record.kept_requests[ids["working"]].state == RequestState.CANCELLED
    assert record.kept_requests[ids["failed"]].state == RequestState.QUEUED
    assert record.trail[-1].actor.startswith("token ")


def test_results_that_are_held_back_are_sent_by_hand(
    browser: Browser, record: FakeRecord, study: str
) -> None:
    view = deliver(ask(record, study, "liver", state=RequestState.SENDING), DeliveryState.HELD)
    record.kept_requests[view.id] = view
    assert f'action="/requests/{view.id}/release"' in browser.get("/").text

    assert browser.send(f"/requests/{view.id}/release").status_code == 303

    assert record.trail[-1].event == "request.released"
    assert "Looked at: send" not in browser.get("/").text


@pytest.mark.parametrize("what", ["cancel", "retry", "release"])
def test_what_the_state_forbids_is_said(
    browser: Browser, record: FakeRecord, study: str, what: str
) -> None:
    ids = fill(record, study)

    answer = browser.send(f"/requests/{ids['done']}/{what}")

    assert answer.status_code == 409
    assert "The state does not allow this" in answer.text


def test_without_any_study_the_first_page_says_what_is_set_up(
    browser: Browser, record: FakeRecord
) -> None:
    record.kept_studies.clear()

    text = browser.get("/").text

    assert "Nothing has arrived yet" in text
    assert "SEGNODE" in text
    assert "11112" in text
    assert "locator with litemedsam" in text
