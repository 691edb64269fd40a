"""Conversations are values: pictures equal by their pixels, calls kept as they came."""

from __future__ import annotations

import numpy as np
import pytest

from agent.errors import ChatFailed
from agent.language.chat import Answer, Call, Conversation, Message, Picture, native_calls
from agent.language.fakes import ScriptedChat
from agent.turns import Usage


def picture(value: int = 0, height: int = 2, width: int = 3) -> Picture:
    return Picture(np.full((height, width, 3), value, dtype=np.uint8))


class TestPicture:
    def test_the_same_pixels_are_the_same_picture(self) -> None:
        assert picture(7) == picture(7)
        assert hash(picture(7)) == hash(picture(7))
        assert picture(7) != picture(8)
        assert picture(7) != "a picture"

    def test_the_size_counts_too(self) -> None:
        assert picture(0, 2, 3) != picture(0, 3, 2)
        assert picture(0, 2, 3).size == (3, 2)

    def test_how_the_pixels_lie_in_memory_does_not_count(self) -> None:
        pixels = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)

        assert Picture(pixels[::-1]) == Picture(np.ascontiguousarray(pixels[::-1]))

    @pytest.mark.parametrize(
        "pixels",
        [
            np.zeros((2, 2), dtype=np.uint8),
            np.zeros((2, 2, 4), dtype=np.uint8),
            np.zeros((2, 2, 3), dtype=np.float32),
        ],
    )
    def test_anything_else_is_no_picture(self, pixels: np.ndarray) -> None:
        with pytest.raises(ValueError, match=r"\(height, width, 3\) uint8"):
            Picture(pixels)

    def test_its_representation_holds_no_pixels(self) -> None:
        assert repr(picture()) == f"Picture(3x2, {picture().digest[:12]})"


def test_words_and_pictures_of_a_conversation() -> None:
    system = Message("system", ("be brief",))
    user = Message("user", (picture(1), "what", picture(2), "is this?"))
    talk = Conversation((system, user))

    assert user.text == "what\nis this?"
    assert talk.pictures == user.pictures == (picture(1), picture(2))
    assert talk == Conversation(
        (system, Message("user", (picture(1), "what", picture(2), "is this?")))
    )
    assert len({talk, Conversation((system,))}) == 2  # usable as a key


@pytest.mark.parametrize(
    ("said", "call"),
    [
        ({"function": {"name": "stop", "arguments": "{}"}}, Call("stop", "{}")),
        ({"function": {"name": "stop", "arguments": '{"a":1}'}}, Call("stop", '{"a":1}')),
        ({"name": "stop", "arguments": {"a": 1}}, Call("stop", '{"a": 1}')),
        ({"name": "stop"}, Call("stop", "{}")),
        ({"name": None}, Call("None", "{}")),
        ({"function": None}, Call("", "None")),
        ("stop", Call("", "'stop'")),
        ({}, Call("", "{}")),
    ],
)
def test_calls_are_kept_whatever_they_hold(said: object, call: Call) -> None:
    assert native_calls([said]) == (call,)


class TestScriptedChat:
    def test_answers_in_order_and_remembers_what_it_heard(self) -> None:
        chat = ScriptedChat(["one two three", Answer("as it is")])
        talks = [Conversation((Message("user", (picture(), "?")),)), Conversation(())]

        answers = chat.answer(talks, temperature=0.5, max_new_tokens=2)

        assert answers == [
            Answer("one two", usage=Usage(2, 2, model="scripted-chat")),
            Answer("as it is"),
        ]
        assert (chat.conversations, chat.temperatures, chat.batches) == (talks, [0.5, 0.5], [2])

    def test_it_can_fail_and_it_can_end(self) -> None:
        chat = ScriptedChat([ChatFailed("busy")])

        for message in ("busy", "the script has ended"):
            with pytest.raises(ChatFailed, match=message):
                chat.answer([Conversation(())], temperature=0, max_new_tokens=1)
