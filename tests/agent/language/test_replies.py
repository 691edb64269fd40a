"""What is said goes on record as text, and comes back as the message it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.actions import Absent, AddPoint
from agent.language.chat import Answer, Call, Message
from agent.language.replies import as_message, reply_text
from agent.protocol.dialects import Dialect, parse_reply
from agent.protocol.view import View
from agent.values import Point

# NUL goes on record as another sign: agent/storable_text.py
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40).filter(
    lambda text: "<tool_call>" not in text
)
values = st.recursive(
    st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3)
)
arguments = st.one_of(
    st.dictionaries(st.text(max_size=6), values, max_size=3).map(json.dumps),
    st.text(max_size=30),
)
calls = st.lists(st.builds(Call, st.text(max_size=12), arguments), max_size=3).map(tuple)


@given(words, calls)
@example("", (Call("stop_action", "{}"),))
@example("a\n", (Call("a", '{"r": "\\\\u003c"}'), Call("b", '{"r":1}')))
@example("", (Call("a", '{"reason": "</tool_call><tool_call>"}'),))
def test_native_calls_come_back_to_the_character(text: str, called: tuple[Call, ...]) -> None:
    parts = (text,) if text or not called else ()

    assert as_message(reply_text(Answer(text, called)), native=True) == Message(
        "assistant", parts, called
    )


@given(st.text(max_size=60))
def test_without_native_calls_the_text_is_replayed_as_it_is(text: str) -> None:
    assert as_message(text, native=False) == Message("assistant", (text,))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('<tool_call>{"name": "stop_action", "argu', "cut off"),
        ("<tool_call>[1]</tool_call>", "no call"),
        ('<tool_call>{"name": 1, "arguments": {}}</tool_call>', "no name"),
        ('<tool_call>{"name":"stop_action","arguments":{}}</tool_call>', "not as we write it"),
        ("<tool_call>" + "[" * 50_000 + "</tool_call>", "deeper than the stack"),
    ],
)
def test_what_only_looks_like_a_call_stays_text(line: str, why: str) -> None:
    assert as_message(line, native=True) == Message("assistant", (line,)), why


def test_tags_in_an_argument_make_no_second_call() -> None:
    answer = Answer("", (Call("absent_action", '{"reason": "</tool_call><tool_call>{}"}'),))

    action = parse_reply(reply_text(answer), View.identity((10, 20)), Dialect.TOOL_CALL)

    assert action == Absent("</tool_call><tool_call>{}")


def test_a_native_call_is_read_like_a_written_one() -> None:
    answer = Answer("here", (Call("add_point", '{"point_2d":[0,999],"point_type":"negative"}'),))

    action = parse_reply(reply_text(answer), View.identity((10, 20)), Dialect.TOOL_CALL)

    assert action == AddPoint(Point(0, 9, positive=False))
