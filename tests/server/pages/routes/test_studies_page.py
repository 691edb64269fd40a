"""Studies: what they hold, why routes match, and asking for structures in one."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from server.http.fakes import FakeRecord
from server.pages.fakes import FakeOverview
from server.pages.routes.studies import PRIORITIES
from server.values import StudyState
from tests.server.pages.conftest import Browser


def test_structures_are_asked_for(browser: Browser, record: FakeRecord, study: str) -> None:
    answer = browser.send(
        f"/studies/{study}/requests",
        {"target": ["linke Niere", "", " liver "], "priority": "urgent", "destination": ["pacs"]},
    )

    (view,) = record.kept_requests.values()
    assert answer.headers["location"] == f"/requests/{view.id}"
    assert [target.text for target in view.targets] == ["linke Niere", "liver"]
    assert view.priority == PRIORITIES["urgent"] < PRIORITIES["normal"] < PRIORITIES["low"]
    assert [delivery.destination for delivery in view.deliveries] == ["pacs"]
    assert view.series_instance_uid is None
    assert view.actor.startswith("token ")


def test_what_cannot_be_asked_for_comes_back_with_the_reason(
    browser: Browser, record: FakeRecord, study: str
) -> None:
    targets = [f"structure {number}" for number in range(201)]

    answer = browser.send(f"/studies/{study}/requests", {"target": targets, "priority": "low"})

    assert answer.status_code == 422
    assert "201 targets are too many." in answer.text
    assert 'value="structure 200"' in answer.text
    assert '<option value="low" selected>' in answer.text
    assert record.kept_requests == {}


def test_the_same_is_done_anew_where_that_is_ticked(
    browser: Browser, record: FakeRecord, study: str
) -> None:
    assert 'name="force"' not in browser.get(f"/studies/{study}").text
    forms: list[dict[str, str]] = [{}, {}, {"force": "yes"}]
    for form in forms:
        browser.send(f"/studies/{study}/requests", {"target": "liver"} | form)

    first, again, forced = record.kept_requests.values()
    assert (first.repeats, again.repeats, forced.repeats) == (None, first.id, None)
    assert 'name="force"' in browser.get(f"/studies/{study}").text
    assert "its results again" in browser.get(f"/requests/{again.id}").text


def test_nothing_is_no_request(browser: Browser, study: str) -> None:
    answer = browser.send(f"/studies/{study}/requests", {"target": ["", " "]})

    assert answer.status_code == 422
    assert "Nothing is asked for" in answer.text


@pytest.mark.parametrize("priority", ["0", "x", "URGENT"])
def test_a_priority_that_is_none_is_refused(browser: Browser, study: str, priority: str) -> None:
    answer = browser.send(f"/studies/{study}/requests", {"target": "liver", "priority": priority})

    assert answer.status_code == 422
    assert "choose urgent, normal or low" in answer.text


def test_a_study_that_arrives_is_taken_for_whole_by_hand(
    browser: Browser, record: FakeRecord, study: str
) -> None:
    record.add_study(study, StudyState.RECEIVING)
    assert "All images are here" in browser.get(f"/studies/{study}").text

    answer = browser.send(f"/studies/{study}/complete")

    assert answer.headers["location"] == f"/studies/{study}"
    assert record.kept_studies[study].summary.state == StudyState.COMPLETE


def test_a_study_says_why_a_route_matches(
    browser: Browser, overview: FakeOverview, study: str
) -> None:
    text = browser.get(f"/studies/{study}").text
    assert "abdomen: matches" in text

    overview.attributes_of[study] = [{"Modality": "CT"}, {"StudyDescription": "Abdomen"}]
    text = " ".join(browser.get(f"/studies/{study}").text.split())
    assert "abdomen: does not match" in text
    assert "no single image fits them all" in text
    assert 'the study has "CT", nothing there' in text.replace("&#34;", '"')


def test_routes_are_applied_by_hand(browser: Browser, record: FakeRecord, study: str) -> None:
    assert f'action="/studies/{study}/route"' in browser.get(f"/studies/{study}").text

    answer = browser.send(f"/studies/{study}/route")

    assert answer.headers["location"] == f"/studies/{study}"
    assert record.trail[-1].event == "study.routed"
    assert record.trail[-1].actor.startswith("token ")


def test_a_study_that_matched_no_route_says_why(
    browser: Browser, record: FakeRecord, study: str
) -> None:
    whole = record.kept_studies[study]
    reason = "no route of the 1 configured matches"
    summary = replace(whole.summary, unrouted=True, unrouted_reason=reason)
    record.kept_studies[study] = replace(whole, summary=summary)

    assert reason in browser.get("/studies").text


def test_studies_are_listed(browser: Browser, record: FakeRecord, study: str) -> None:
    record.add_study("1.2.9")

    text = browser.get("/studies").text

    assert re.findall(r'href="/studies/([\d.]+)"', text) == ["1.2.9", study]
    assert "Study without images" in text
    assert "CT · Abdomen · 2026-01-02" in text


@pytest.mark.parametrize(
    ("begin", "name", "labels"),
    [
        ("nier", "niere", ["Right kidney", "Left kidney"]),
        ("riñ", "riñón", ["Right kidney", "Left kidney"]),
        ("FOIE", "foie", ["Liver"]),
        ("spl", "spleen", ["Spleen"]),
        ("mil", "milza", ["Spleen"]),
    ],
)
def test_names_are_completed_in_five_languages(
    browser: Browser, begin: str, name: str, labels: list[str]
) -> None:
    names = browser.client.get("/structures", params={"begin": begin}).json()["names"]

    # the label of a structure stands for its name in English
    matches = [entry for entry in names if entry["name"].lower() == name]
    assert matches[0]["labels"] == labels


def test_a_text_is_told_what_it_stands_for(browser: Browser) -> None:
    def means(text: str) -> list[str]:
        answer = browser.client.get("/structures", params={"begin": text})
        return list(answer.json()["means"])

    assert means("linke Niere") == ["Left kidney"]
    assert means("something else") == []
    assert means("  ") == []
