"""Logging in and out."""

from __future__ import annotations

from http.cookies import SimpleCookie

import pytest
from starlette.testclient import TestClient

from server.pages.app import create_pages
from server.pages.login import COOKIE, LIFETIME_S
from server.pages.ports import PageServices
from tests.server.pages.conftest import Browser


def test_the_cookie_is_for_this_node_and_no_script(stranger: Browser, token: str) -> None:
    answer = stranger.send("/login", {"token": token, "next": "/studies"})

    morsel = SimpleCookie(answer.headers["set-cookie"])[COOKIE]
    assert answer.headers["location"] == "/studies"
    assert morsel["httponly"]
    assert morsel["samesite"] == "strict"
    assert morsel["path"] == "/"
    assert int(morsel["max-age"]) == LIFETIME_S
    assert not morsel["secure"]  # loopback without TLS; see below
    assert token not in answer.headers["set-cookie"]


def test_behind_tls_the_cookie_never_leaves_it(page_services: PageServices, token: str) -> None:
    client = TestClient(create_pages(page_services), base_url="https://node.example")
    answer = client.post(
        "/login",
        data={"token": token},
        headers={"Origin": "https://node.example"},
        follow_redirects=False,
    )

    assert SimpleCookie(answer.headers["set-cookie"])[COOKIE]["secure"]


@pytest.mark.parametrize("wrong", ["", "wrong-token-of-good-length", "x" * 60_000])
def test_a_wrong_token_is_said_to_be(stranger: Browser, wrong: str) -> None:
    answer = stranger.send("/login", {"token": wrong, "next": "/studies"})

    assert answer.status_code == 401
    assert "does not open the node" in answer.text
    assert "set-cookie" not in answer.headers
    assert 'value="/studies"' in answer.text
    assert wrong == "" or wrong not in answer.text


def test_a_login_leads_to_no_other_site(stranger: Browser, token: str) -> None:
    answer = stranger.send("/login", {"token": token, "next": "//elsewhere"})

    assert answer.headers["location"] == "/"


def test_after_the_logout_nothing_is_open(browser: Browser) -> None:
    assert browser.get("/").status_code == 200

    assert browser.send("/logout").status_code == 303
    assert browser.get("/").status_code == 303
