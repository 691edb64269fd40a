"""Text from outside as text that can be kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.actions import Absent, Malformed
from agent.language.chat import Answer, Call
from agent.language.replies import as_message, reply_text
from agent.storable_text import storable


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Leber, \u809d\u81d3 \U0001f600\t\n", "Leber, \u809d\u81d3 \U0001f600\t\n"),
        ("a\0b", "a\ufffdb"),
        ("\ud800 hi", "\ufffd hi"),
        ("hi \udc00", "hi \ufffd"),
        ("\ud83d\ude00", "\U0001f600"),  # both halves make the character
        ("\ufeffliver", "\ufeffliver"),
        ("", ""),
    ],
)
def test_only_what_cannot_be_kept_is_replaced(said: str, kept: str) -> None:
    assert storable(said) == kept


@given(st.text(st.characters(exclude_categories=())))
def test_everything_can_be_encoded_and_stays_what_it_is(said: str) -> None:
    kept = storable(said)

    assert kept.encode("utf-8").decode("utf-8") == kept == storable(kept)
    assert "\0" not in kept


def test_what_an_action_says_can_be_kept() -> None:
    assert Absent("no\0thing").reason == "no\ufffdthing"
    assert Malformed("'\ud800' is no number").fault == "'\ufffd' is no number"


def test_a_reply_can_be_kept_and_sent_again() -> None:
    said = reply_text(Answer("see\0 \ud800", (Call("stop\udfff", "{}"),)))

    said.encode("utf-8")
    assert as_message(said, native=True).text == "see\ufffd \ufffd"
