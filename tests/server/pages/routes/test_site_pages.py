"""Destinations, queue, health, what could not be delivered, and what is set up."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.errors import TransientDeliveryError
from dicom_node.fakes import FakeDestination
from models.errors import WeightsMissing
from server.errors import RecordUnavailable
from server.http.fakes import FakeCounting, FakeRecord
from server.pages.ports import PageServices
from server.pulses import Part
from tests.server.pages.conftest import Browser, MakeBrowser
from tests.support.http.filled_record import ask, fill


def test_a_destination_is_asked_whether_it_answers(browser: Browser) -> None:
    answer = browser.send("/destinations/pacs/echo")

    assert answer.status_code == 200
    assert re.search(r"It answers, after \d+\.\d\d seconds\.", answer.text)


def test_a_destination_that_does_not_answer_says_why(
    browser: Browser, pacs: FakeDestination
) -> None:
    pacs.failures.append(
        TransientDeliveryError("pacs does not answer: is it up?", destination="pacs")
    )

    answer = browser.send("/destinations/pacs/echo")

    assert answer.status_code == 502
    assert "Pacs does not answer: is it up?" in answer.text


@pytest.mark.parametrize("name", ["other", "%00", "x" * 65])
def test_a_destination_that_is_none_is_said_to_be(browser: Browser, name: str) -> None:
    assert browser.send(f"/destinations/{name}/echo").status_code == 404


def test_destinations_and_routes_are_shown(browser: Browser) -> None:
    text = " ".join(browser.get("/destinations").text.split())

    assert "takes SEG, SR" in text
    assert "gets liver; the results go to all destinations." in text


def test_the_queue_is_in_the_order_of_work(
    browser: Browser, record: FakeRecord, study: str
) -> None:
    fill(record, study)
    ask(record, study, "late but urgent", priority=10)

    text = browser.get("/node").text

    assert text.index("late but urgent") < text.index("urinary bladder")
    assert text.index("encoding slices: 42 of 120") < text.index("late but urgent")
    assert "2 wait" in text


def test_a_part_that_stands_still_is_told(browser: Browser, counting: FakeCounting) -> None:
    counting.seen_parts = [
        replace(part, age_s=99.0) if part.part == Part.WORKER else part
        for part in counting.seen_parts
    ]

    for page in ("/node", "/setup"):
        text = browser.get(page).text
        assert "the worker has not moved for 99 s" in text
        assert text.count(">fault<") == 1


def test_models_that_are_missing_are_told(
    page_services: PageServices, make_browser: MakeBrowser
) -> None:
    def missing() -> str:
        raise WeightsMissing("sam", Path("sam.pt"), "Say: segnode models fetch sam")

    pages = replace(page_services, site=replace(page_services.site, models=missing))

    assert "segnode models fetch sam" in make_browser(pages).get("/node").text


def test_without_a_database_the_node_is_still_shown(browser: Browser, record: FakeRecord) -> None:
    record.away = RecordUnavailable("PostgreSQL does not answer")

    for page in ("/node", "/setup"):
        answer = browser.get(page)
        assert answer.status_code == 200
        assert "PostgreSQL does not answer" in answer.text


def test_what_was_given_up_is_sent_again_by_one_button(
    browser: Browser, record: FakeRecord, study: str
) -> None:
    ids = fill(record, study)
    text = browser.get("/undelivered").text
    assert "3 tries: refused, out of resources (0xA700)" in text
    assert f'action="/requests/{ids["failed"]}/retry"' in text
    assert text.count("<form") == 2  # this, and the logout

    browser.send(f"/requests/{ids['failed']}/retry", {"next": "/undelivered"})

    assert "Everything has been delivered" in browser.get("/undelivered").text


def test_what_is_missing_is_said(page_services: PageServices, make_browser: MakeBrowser) -> None:
    services = replace(page_services.services, destinations=())
    pages = replace(page_services, services=services, site=replace(page_services.site, routes=()))

    text = make_browser(pages).get("/setup").text

    assert "[[destinations]]" in text
    assert "[[routes]]" in text
    assert text.count(">missing<") == 2
