"""Who is not logged in sees the login and does nothing; what comes from elsewhere does nothing."""

from __future__ import annotations

import pytest

from server.http.fakes import FakeRecord
from server.pages.guard import OPEN_PREFIXES
from server.pages.login import COOKIE
from tests.server.pages.conftest import Browser
from tests.support.http.filled_record import fill


@pytest.mark.parametrize(
    ("address", "login"),
    [
        ("/", "/login"),
        ("/?state=DONE", "/login?next=%2F%3Fstate%3DDONE"),
        ("/studies/1.2", "/login?next=%2Fstudies%2F1.2"),
        ("/requests/x/turns/0/picture.png", None),
        ("/structures?begin=li", None),
        ("/nowhere", None),
        ("//elsewhere", None),
    ],
)
def test_a_stranger_is_led_to_the_login(stranger: Browser, address: str, login: str | None) -> None:
    answer = stranger.get(address)

    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login")
    assert login in (None, answer.headers["location"])


@pytest.mark.parametrize("cookie", ["", "x", "1.2", "99999999999.ab", '"', "a=b; c", "\xff"])
def test_a_wrong_cookie_lets_nobody_in(stranger: Browser, cookie: str) -> None:
    header = f"{COOKIE}={cookie}".encode("latin-1")

    answer = stranger.client.get("/", headers={b"cookie": header}, follow_redirects=False)

    assert answer.status_code == 303


@pytest.mark.parametrize("what", ["cancel", "retry", "release"])
def test_a_stranger_changes_nothing(
    stranger: Browser, record: FakeRecord, study: str, what: str
) -> None:
    ids = fill(record, study)
    before = dict(record.kept_requests)

    for request_id in ids.values():
        answer = stranger.send(f"/requests/{request_id}/{what}")

        assert answer.status_code == 401
        assert "log in" in answer.text
    assert record.kept_requests == before


@pytest.mark.parametrize(
    "place", ["/studies/{}/requests", "/studies/{}/complete", "/studies/{}/route"]
)
def test_a_stranger_asks_for_nothing(
    stranger: Browser, record: FakeRecord, study: str, place: str
) -> None:
    answer = stranger.send(place.format(study), {"target": "liver"})

    assert answer.status_code == 401
    assert record.kept_requests == {}


@pytest.mark.parametrize("origin", ["", "null", "http://elsewhere", "http://node.example.org"])
def test_another_site_changes_nothing_in_a_browser_that_is_logged_in(
    browser: Browser, record: FakeRecord, study: str, origin: str
) -> None:
    answer = browser.send(f"/studies/{study}/requests", {"target": "liver"}, origin)

    assert answer.status_code == 403
    assert record.kept_requests == {}


def test_another_site_logs_nobody_in(stranger: Browser, token: str) -> None:
    assert stranger.send("/login", {"token": token}, "http://elsewhere").status_code == 403


def test_only_the_login_and_files_are_open() -> None:
    assert OPEN_PREFIXES == ("/login", "/static/")
