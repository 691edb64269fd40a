"""A token makes a cookie; the cookie lets in until its time is over or the token is withdrawn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.http.tokens import tokens_of
from server.pages.login import LIFETIME_S, Logins, from_our_page, safe_place

TOKENS = ("a-token-of-good-length", "another-token-of-good-length")


def logins(*texts: str, now_s: float = 1000.0) -> Logins:
    """Logins by these tokens at this time."""
    return Logins(tokens_of(texts or TOKENS), lambda: now_s)


def test_a_cookie_is_of_who_has_the_token() -> None:
    cookie = logins().cookie(TOKENS[1])

    assert cookie is not None
    assert TOKENS[1] not in cookie
    assert logins().actor(cookie) == tokens_of(TOKENS).actor(TOKENS[1])


@pytest.mark.parametrize("token", ["", "a-token-of-good-lengt", "é" * 20, "\x00" * 20])
def test_a_wrong_token_makes_none(token: str) -> None:
    assert logins().cookie(token) is None


def test_a_cookie_ends_with_its_time() -> None:
    cookie = logins().cookie(TOKENS[0]) or ""

    assert logins(now_s=1000.0 + LIFETIME_S - 1).actor(cookie)
    assert logins(now_s=1000.0 + LIFETIME_S).actor(cookie) is None


def test_a_cookie_ends_with_its_token() -> None:
    cookie = logins().cookie(TOKENS[0]) or ""

    assert logins(TOKENS[1]).actor(cookie) is None


def test_a_cookie_cannot_be_prolonged() -> None:
    cookie = logins().cookie(TOKENS[0]) or ""
    expiry, _, signature = cookie.partition(".")

    assert logins().actor(f"{int(expiry) + 1}.{signature}") is None


@given(st.text())
def test_no_cookie_makes_the_login_fail(text: str) -> None:
    assert logins().actor(text) is None
    assert logins().actor(f"99999999999.{text}") is None


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({"host": "node:8080", "origin": "http://node:8080"}, True),
        ({"host": "node", "origin": "https://node"}, True),
        ({"host": "node", "origin": "https://elsewhere"}, False),
        ({"host": "node", "origin": "https://node.elsewhere"}, False),
        ({"host": "node", "origin": "null"}, False),
        ({"host": "node", "origin": ""}, False),
        ({"host": "node"}, False),
        ({"origin": "http://"}, False),
        ({"host": "", "origin": "http://"}, False),
    ],
)
def test_a_form_is_taken_from_our_pages_only(headers: dict[str, str], ours: bool) -> None:
    raw = [(name.encode(), text.encode()) for name, text in headers.items()]

    assert from_our_page({"type": "http", "headers": raw}) is ours


@pytest.mark.parametrize(
    "place",
    ["//elsewhere", "https://elsewhere", "/\\elsewhere", "\\\\elsewhere", "", "/\nx", "/é", "x"],
)
def test_a_login_leads_nowhere_else(place: str) -> None:
    assert safe_place(place) == "/"
