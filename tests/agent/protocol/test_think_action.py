"""The protocol of thought and action in tags: what each reply means, and what is wrong with it."""

from __future__ import annotations

import pytest

from agent.actions import Absent, Action, AddBox, AddPoint, Stop
from agent.protocol.dialects import Dialect, parse_reply
from agent.values import Box, Point
from tests.support.agent.replies import VIEW, fault, near


class TestThinkAction:
    @pytest.mark.parametrize(
        ("said", "action"),
        [
            ("Positive Point (0.5000, 0.2500)", AddPoint(Point(499.5, 499.5))),
            ("negative point(0,1)", AddPoint(Point(0, 1998, positive=False))),
            ("Box (0.0000, 0.5000, 1.0000, 1.0000)", AddBox(Box(0, 999, 999, 1998))),
            ("Terminate", Stop()),
            ("Termination", Stop()),
            ("Absent", Absent("")),
        ],
    )
    def test_each_action(self, said: str, action: Action) -> None:
        text = f"<think>\nwell\n</think>\n<action>\n{said}\n</action>"

        assert near(parse_reply(text, VIEW, Dialect.THINK_ACTION), action)

    def test_an_action_that_is_only_thought_of_is_not_made(self) -> None:
        text = "<think>or <action>Absent</action>?</think><action>Terminate</action>"

        assert parse_reply(text, VIEW, Dialect.THINK_ACTION) == Stop()

    @pytest.mark.parametrize("word", ["Terminate", "Termination"])
    def test_both_spellings_end_with_an_answer(self, word: str) -> None:
        text = f"<think>done</think><action>{word}</action><answer>It is the liver.</answer>"

        assert parse_reply(text, VIEW, Dialect.THINK_ACTION) == Stop()

    def test_an_absent_target_has_a_reason(self) -> None:
        text = "<action>Absent</action>\n<answer>this slice is above it</answer>"

        action = parse_reply(text, VIEW, Dialect.THINK_ACTION)

        assert action == Absent("this slice is above it")

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("Positive Point (0.5, 0.5)", "holds no action"),
            ("<think>Positive Point (0.5, 0.5)", "holds no action"),
            ("<action>Terminate</action><action>Absent</action>", "holds 2 actions"),
            ("<action>Click (0.5, 0.5)</action>", "'Click (0.5, 0.5)' is no action"),
            ("<action></action>", "'' is no action; the actions are Positive Point"),
            ("<action>Positive Point (0.5)</action>", "needs 2 numbers"),
            ("<action>Positive Point (0.5, up)</action>", "needs 2 numbers"),
            ("<action>Box (0.1, 0.2, 0.3)</action>", "needs 4 numbers"),
            ("<action>Positive Point (120, 80)</action>", "fractions of the image, not pixels"),
            ("<action>Positive Point (nan, 0.5)</action>", "outside 0 to 1"),
            ("<action>Positive Point (-0.1, 0.5)</action>", "outside 0 to 1"),
            ("<action>Box (0.5, 0.2, 0.5, 0.3)</action>", "empty or turned round"),
            ("x" * 40_001, "40001 characters"),
        ],
    )
    def test_what_is_wrong_is_said(self, text: str, says: str) -> None:
        assert says in fault(text, Dialect.THINK_ACTION)
