"""What stands in a request, and what is read from a reply."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agent.actions import AddBox, Malformed
from agent.language.chat import Call, Conversation, Message, Picture
from agent.language.replies import reply_text
from agent.protocol.dialects import Dialect, parse_reply
from agent.protocol.tool_calls import parse_tool_call
from agent.protocol.view import View
from agent.protocol.vocabulary import TOOLS
from models.policies.chat.openai.wire import (
    CALL_ANSWERED,
    NoReply,
    Prices,
    ServerDialect,
    adapted,
    answer_of,
    data_url,
    refusal_of,
    request_body,
)

PLAIN = ServerDialect("m")


def body_of(conversation: Conversation, manner: ServerDialect = PLAIN) -> dict[str, Any]:
    return request_body(conversation, manner, temperature=0.5, max_new_tokens=64)


def reply(message: object, **more: Any) -> bytes:
    return json.dumps({"choices": [{"message": message}], **more}).encode()


def test_words_and_pictures_stand_in_their_order(picture: Picture) -> None:
    message = Message("user", ("before", picture, "after"))

    body = body_of(Conversation((Message("system", ("rules",)), message)))

    assert body["messages"] == [
        {"role": "system", "content": "rules"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "before"},
                {"type": "image_url", "image_url": {"url": data_url(picture)}},
                {"type": "text", "text": "after"},
            ],
        },
    ]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0.5, 64)
    assert "tools" not in body


def test_a_picture_travels_without_loss(picture: Picture) -> None:
    head, _, data = data_url(picture).partition(",")

    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as read:
        assert np.array_equal(np.asarray(read), picture.pixels)


def test_tools_are_offered_as_functions(question: Conversation) -> None:
    body = body_of(Conversation(question.messages, TOOLS))

    assert [each["function"]["name"] for each in body["tools"]] == [
        "add_bbox",
        "add_point",
        "stop_action",
        "absent_action",
    ]
    assert all(each["type"] == "function" for each in body["tools"])
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("auto", False)


def test_no_tools_are_offered_to_a_server_that_takes_none(question: Conversation) -> None:
    body = body_of(Conversation(question.messages, TOOLS), ServerDialect("m", native_tools=False))

    assert {"tools", "tool_choice", "parallel_tool_calls"}.isdisjoint(body)


def test_every_call_of_the_history_is_answered_before_the_next_message() -> None:
    calls = (Call("add_bbox", '{"bbox_2d": [1, 2, 3, 4]}'), Call("stop_action", "{}"))
    history = (
        Message("user", ("go",)),
        Message("assistant", ("A box.",), calls),
        Message("user", ("next",)),
    )

    messages = body_of(Conversation(history, TOOLS))["messages"]

    assert messages[1]["content"] == "A box."
    assert messages[1]["tool_calls"] == [
        {
            "id": "call_1_0",
            "type": "function",
            "function": {"name": "add_bbox", "arguments": '{"bbox_2d": [1, 2, 3, 4]}'},
        },
        {
            "id": "call_1_1",
            "type": "function",
            "function": {"name": "stop_action", "arguments": "{}"},
        },
    ]
    assert messages[2:4] == [
        {"role": "tool", "tool_call_id": "call_1_0", "content": CALL_ANSWERED},
        {"role": "tool", "tool_call_id": "call_1_1", "content": CALL_ANSWERED},
    ]
    assert messages[4] == {"role": "user", "content": "next"}


@pytest.mark.parametrize(
    "call",
    [
        Call("add_bbox", '{"bbox_2d": [1, 2'),  # cut off
        Call("add_bbox", "[1, 2]"),
        Call("add_bbox", "[" * 100_000),
        Call("", "{}"),
        Call("draw a box!", "{}"),
        Call("x" * 65, "{}"),
    ],
    ids=["truncated", "no object", "bottomless", "no name", "no identifier", "too long"],
)
def test_a_call_that_a_server_would_choke_on_is_said_in_words(call: Call) -> None:
    history = (
        Message("user", ("go",)),
        Message("assistant", (), (call,)),
        Message("user", ("no",)),
    )

    messages = body_of(Conversation(history, TOOLS))["messages"]

    assert [each["role"] for each in messages] == ["user", "assistant", "user"]
    assert "tool_calls" not in messages[1]
    assert call.arguments in messages[1]["content"]


def test_calls_of_the_history_are_words_for_a_server_without_tools() -> None:
    history = (
        Message("user", ("go",)),
        Message("assistant", ("Done.",), (Call("stop_action"),)),
        Message("user", ("sure?",)),
    )

    messages = body_of(Conversation(history), ServerDialect("m", native_tools=False))["messages"]

    assert messages[1] == {
        "role": "assistant",
        "content": 'Done.\n<tool_call>{"name": "stop_action", "arguments": {}}</tool_call>',
    }


def test_a_longer_conversation_begins_with_the_same_letters(question: Conversation) -> None:
    answered = Message("assistant", (), (Call("stop_action"),))
    longer = Conversation((*question.messages, answered, Message("user", ("next",))))

    one, two = (json.dumps(body_of(each)["messages"]) for each in (question, longer))

    assert two.startswith(one[:-1])


def test_a_refused_parameter_is_renamed_or_left_out(question: Conversation) -> None:
    manner = PLAIN
    for refusal in (
        "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        "Unsupported value: 'temperature' does not support 0.5 with this model.",
        "Unknown parameter: parallel_tool_calls",
    ):
        changed = adapted(manner, refusal)
        assert changed is not None
        manner = changed

    body = body_of(Conversation(question.messages, TOOLS), manner)

    assert body["max_completion_tokens"] == 64
    assert {"max_tokens", "temperature", "parallel_tool_calls"}.isdisjoint(body)
    assert manner.model == "m"


@pytest.mark.parametrize(
    "refusal", ["", "max_tokens is too large", "the image is too large", "temperature"]
)
def test_other_refusals_stand(refusal: str) -> None:
    assert adapted(ServerDialect("m", dropped=frozenset({"temperature"})), refusal) is None


def test_a_refusal_that_was_heeded_and_comes_again_stands() -> None:
    once = adapted(PLAIN, "use max_completion_tokens")

    assert once is not None
    assert adapted(once, "use max_completion_tokens") is None


def test_an_answer_has_words_calls_and_what_it_took() -> None:
    function = {"name": "add_bbox", "arguments": '{"bbox_2d": [10, 20, 30, 40]}'}
    message = {"content": "A box.", "tool_calls": [{"id": "x", "function": function}]}
    body = reply(message, model="m-2", usage={"prompt_tokens": 2000, "completion_tokens": 100})

    answer = answer_of(body, "m", Prices(per_million_input=2.5, per_million_output=10.0))

    assert answer.text == "A box."
    assert answer.calls == (Call("add_bbox", '{"bbox_2d": [10, 20, 30, 40]}'),)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (2000, 100)
    assert answer.usage.cost == pytest.approx(0.006)  # 2000 x 2.5 + 100 x 10, by the million
    assert answer.usage.model == "m-2"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "plain"}, "plain"),
        ({"content": None}, ""),
        ({}, ""),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
        ({"content": ["a", 3, {"type": "image"}, {"text": None}]}, "a"),
        ({"content": None, "refusal": "I will not."}, "I will not."),
        ({"content": "x", "reasoning_content": "why"}, "<think>\nwhy\n</think>\nx"),
        ({"content": "x", "reasoning": "a</think>b"}, "<think>\nab\n</think>\nx"),
        ({"content": 7}, ""),
    ],
)
def test_words_are_found_wherever_servers_put_them(message: object, text: str) -> None:
    assert answer_of(reply(message), "m", Prices()).text == text


@pytest.mark.parametrize("dialect", Dialect)
def test_an_action_after_a_thought_is_still_read(dialect: Dialect) -> None:
    said = {
        Dialect.TOOL_CALL: (
            '<tool_call>{"name":"add_bbox","arguments":{"bbox_2d":[0,0,999,999]}}</tool_call>'
        ),
        Dialect.THINK_ACTION: "<action>Box (0.0, 0.0, 1.0, 1.0)</action>",
    }[dialect]
    message = {"content": said, "reasoning_content": "<action>Terminate</action> or <tool_call>?"}

    answer = answer_of(reply(message), "m", Prices())

    assert isinstance(parse_reply(answer.text, View.identity((8, 8)), dialect), AddBox)


@pytest.mark.parametrize(
    "said",
    [
        [{"function": {"name": "fly", "arguments": "{}"}}],
        [{"function": {"name": "add_bbox", "arguments": "{"}}],
        [{"function": None}],
        ["add_bbox"],
        "add_bbox",
        {"function": {"name": "add_bbox"}},
        [None, None],
        [[[[]]]],
    ],
    ids=str,
)
def test_calls_that_are_none_are_left_to_the_parser(said: object) -> None:
    answer = answer_of(reply({"content": "", "tool_calls": said}), "m", Prices())

    assert isinstance(parse_tool_call(reply_text(answer), View.identity((8, 8))), Malformed)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        "many",
        {"prompt_tokens": "7"},
        {"prompt_tokens": -3, "completion_tokens": True},
    ],
    ids=str,
)
def test_figures_that_are_none_count_as_nothing(usage: object) -> None:
    answer = answer_of(reply({"content": "x"}, usage=usage, model=None), "m", Prices(1.0, 1.0))

    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.cost) == (0, 0, 0.0)
    assert answer.usage.model == "m"


def test_an_endless_figure_has_an_end() -> None:
    usage = {"prompt_tokens": 10**1000, "completion_tokens": 1}

    answer = answer_of(reply({"content": "x"}, usage=usage), "m", Prices(1.0, 1.0))

    assert answer.usage.input_tokens == 10**9
    assert answer.usage.cost == pytest.approx(1000.0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"choices"',
        b"<html>",
        b"\xff\xfe",
        b'{"choices": [{"message": {"content": "cut',
        b"[" * 200_000,
        b'{"choices": ' + b"9" * 5000 + b"}",
        b'{"choices": []}',
        b'{"choices": "ab"}',
        b'{"choices": [null]}',
        b'{"choices": [{"message": null}]}',
        b'{"error": {"message": "patient Doe"}}',
    ],
    ids=range(14),
)
def test_what_is_no_answer_is_said_without_repeating_it(body: bytes) -> None:
    with pytest.raises(NoReply) as nothing:
        answer_of(body, "m", Prices())

    assert "Doe" not in str(nothing.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "no"}}', "no"),
        (b'{"error": "no"}', "no"),
        (b'{"message": "no", "object": "error"}', "no"),
        (b'{"detail": [{"loc": ["body"]}]}', '[{"loc": ["body"]}]'),
        (b'{"error": {}}', ""),
        (b"no", "no"),
        (b"\xff", "\ufffd"),
        (b"", ""),
    ],
)
def test_a_refusal_is_found_wherever_servers_put_it(body: bytes, words: str) -> None:
    assert refusal_of(body) == words
