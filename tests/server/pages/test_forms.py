"""What a form sends: read within bounds, and refused in words where it is none."""

from __future__ import annotations

import pytest

from server.http.fakes import FakeRecord
from server.pages.forms import LONGEST_FORM_BYTES, MOST_FIELDS, field
from tests.server.pages.conftest import ORIGIN, Browser

FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        ("", b"target=liver", 415),
        (FORM, b"target=\xff\xfe", 422),
        (FORM, b"&".join([b"target=x"] * (MOST_FIELDS + 1)), 422),
        (FORM, b"target=" + b"x" * LONGEST_FORM_BYTES, 413),
        (FORM, b"target=%ff%fe", 303),  # bytes that are no text become a sign that says so
        (FORM + "; charset=UTF-8", b"target=liver", 303),
    ],
)
def test_forms_are_read_within_bounds(
    browser: Browser, study: str, content_type: str, body: bytes, status: int
) -> None:
    headers = {"Origin": ORIGIN} | ({"Content-Type": content_type} if content_type else {})

    answer = browser.client.post(
        f"/studies/{study}/requests", content=body, headers=headers, follow_redirects=False
    )

    assert answer.status_code == status


def test_a_body_that_is_too_long_asks_for_nothing(
    browser: Browser, record: FakeRecord, study: str
) -> None:
    browser.send(f"/studies/{study}/requests", {"target": "x" * LONGEST_FORM_BYTES})

    assert record.kept_requests == {}


def test_a_field_is_what_was_filled_in_last() -> None:
    assert field({"a": ["1", " 2 "]}, "a") == "2"
    assert field({}, "a") == ""
