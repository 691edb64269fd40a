"""A request's story: its answers, its turns with their pictures, its deliveries and its trail."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from server.errors import PictureFailed, TurnsGone
from server.http.fakes import FakePictures, FakeRecord
from server.pages.routes.story import BLOCK
from server.values import RequestState
from tests.server.pages.conftest import Browser
from tests.support.http.filled_record import ask, fill, play


def test_a_story_is_told_whole(browser: Browser, record: FakeRecord, study: str) -> None:
    ids = fill(record, study)

    text = browser.get(f"/requests/{ids['done']}?turn=4").text

    for words in (
        "1523 ml", "&lt;1 ml", "not seen on any slice of the volume", "Undetermined",
        "liver: cut off by the edge of the volume", "Turn 4 of 40: liver, slice 10",
        "Clicks outside, at x 310, y 99", "The organ is bright against the fat; I box it.",
        "the only axial series", "Delivered", "SEG: <code>2.25.40</code>", "Request queued",
        "token 1a2b3c4d",
    ):  # fmt: skip
        assert words in text, words
    assert f'src="/requests/{ids["done"]}/turns/3/picture.png"' in text
    assert "confidence" not in text.lower()  # it is not calibrated, so no report states it


def test_turns_are_gone_through_without_a_script(
    browser: Browser, record: FakeRecord, study: str
) -> None:
    request_id = fill(record, study)["done"]
    place, numbers = f"/requests/{request_id}?turn=1", list[int]()
    while True:
        text = browser.get(place).text
        current = re.search(r"Turn (\d+) of 40", text)
        forward = re.search(r'rel="next" href="\?turn=(\d+)#turn"( aria-disabled)?', text)
        assert current is not None
        assert forward is not None
        numbers.append(int(current[1]))
        if forward[2]:
            break
        place = f"/requests/{request_id}?turn={forward[1]}"

    assert numbers == list(range(1, 41))


def test_long_stories_come_in_parts(browser: Browser, record: FakeRecord, study: str) -> None:
    view = ask(record, study, "liver", state=RequestState.DONE)
    play(record, view, 2 * BLOCK + 5)

    text = browser.get(f"/requests/{view.id}?turn={BLOCK + 1}").text

    numbers = [int(number) for number in re.findall(r'data-number="(\d+)"', text)]
    assert numbers == list(range(BLOCK + 1, 2 * BLOCK + 1))
    assert f"Turns 1 to {BLOCK}" in text
    assert f"Turns {2 * BLOCK + 1} to {2 * BLOCK + 5}" in text


def test_a_delivery_tells_its_error_and_its_next_try(
    browser: Browser, record: FakeRecord, study: str
) -> None:
    ids = fill(record, study)
    view = record.kept_requests[ids["sending"]]
    next_try = view.deliveries[0].next_try_at
    assert next_try is not None

    text = browser.get(f"/requests/{ids['sending']}").text

    assert "no answer within 30 s" in text
    assert "Will be tried again" in text
    assert next_try.astimezone().strftime("%Y-%m-%d %H:%M:%S") in text
    assert "Send again now" in text


def test_a_request_without_turns_says_so(browser: Browser, record: FakeRecord, study: str) -> None:
    ids = fill(record, study)

    assert "took no turn" in browser.get(f"/requests/{ids['rejected']}").text
    assert "No turn is on record yet" in browser.get(f"/requests/{ids['waiting']}").text


def test_while_it_is_worked_on_a_story_changes_and_has_no_pictures(
    browser: Browser, record: FakeRecord, study: str
) -> None:
    ids = fill(record, study)

    text = browser.get(f"/requests/{ids['working']}").text

    assert 'data-live="2"' in text
    assert "picture.png" not in text.partition('<div class="turns"')[0]
    assert "Pictures can be drawn when the request has ended" in text


def test_a_picture_is_the_turns_own(
    browser: Browser, record: FakeRecord, pictures: FakePictures, study: str
) -> None:
    request_id = fill(record, study)["done"]

    answer = browser.get(f"/requests/{request_id}/turns/13/picture.png")

    assert answer.content == FakePictures.PNG
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "no-store"
    ((asked_id, target_index, turn),) = pictures.asked
    assert (asked_id, target_index) == (request_id, 1)
    assert turn == record.kept_turns[request_id][13].turn


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (TurnsGone("the masks of the turns are not kept any more"), 410),
        (PictureFailed("drawing it took too much memory"), 500),
    ],
)
def test_a_picture_that_cannot_be_drawn_says_why(
    browser: Browser,
    record: FakeRecord,
    pictures: FakePictures,
    study: str,
    fault: Exception,
    status: int,
) -> None:
    pictures.fault = fault
    request_id = fill(record, study)["done"]

    answer = browser.get(f"/requests/{request_id}/turns/0/picture.png")

    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.lower() == f"{fault}."


@pytest.mark.parametrize(("name", "n", "status"), [("working", 0, 409), ("done", 40, 404)])
def test_a_picture_that_is_not_there_says_why(
    browser: Browser, record: FakeRecord, study: str, name: str, n: int, status: int
) -> None:
    request_id = fill(record, study)[name]

    answer = browser.get(f"/requests/{request_id}/turns/{n}/picture.png")

    assert answer.status_code == status
    assert answer.text.endswith(".")


def test_turns_of_another_version_are_shown_as_they_are(
    browser: Browser, record: FakeRecord, study: str
) -> None:
    view = ask(record, study, "liver", state=RequestState.DONE)
    play(record, view, 3, role="a new role", outcome="a new outcome", action={"kind": "new"})
    record.kept_turns[view.id] = tuple(
        replace(turn, target_index=7) for turn in record.kept_turns[view.id]
    )

    answer = browser.get(f"/requests/{view.id}")

    assert answer.status_code == 200
    assert "a new role" in answer.text
