"""Calls as JSON, in a text and as a server hands them over: every shape that models give them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.actions import Absent, Action, AddBox, AddPoint, Malformed, Stop
from agent.protocol.tool_calls import parse_tool_call
from agent.protocol.view import View
from agent.values import Box, Point
from tests.support.agent.replies import VIEW, fault, near, parsed_native


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


class TestToolCalls:
    @pytest.mark.parametrize(
        ("text", "action"),
        [
            # 999 steps over 1998 pixels between the first and last row's centres: 2 pixels a step
            (call("add_bbox", bbox_2d=[10, 20, 300, 400]), AddBox(Box(10, 40, 300, 800))),
            (call("add_bbox", bbox_2d=[0, 0, 999, 999]), AddBox(Box(0, 0, 999, 1998))),
            (call("add_point", point_2d=[5, 7], point_type="positive"), AddPoint(Point(5, 14))),
            (
                call("add_point", point_2d=[5, 7], point_type="negative"),
                AddPoint(Point(5, 14, positive=False)),
            ),
            (call("add_positive_point", x=5, y=7), AddPoint(Point(5, 14))),
            (call("add_negative_point", x=5, y=7), AddPoint(Point(5, 14, positive=False))),
            (call("stop_action"), Stop()),
            ('<tool_call>{"name":"stop_action"}</tool_call>', Stop()),
            (call("absent_action", reason="below the liver"), Absent("below the liver")),
            (call("absent_action"), Absent("")),
        ],
    )
    def test_each_action(self, text: str, action: Action) -> None:
        assert near(parse_tool_call(text, VIEW), action)

    @pytest.mark.parametrize(
        "text",
        [
            'The dome.\n<tool_call>\n{"name": "stop_action", "arguments": {}}\n</tool_call>',
            '<tool_call>{"name": "stop_action", "arguments": {}}',  # cut off after the JSON
            '<tool_call>{name": "stop_action", "arguments": {}}</tool_call>',  # the one repair
            '<tool_call>{"name": "stop_action", arguments": {}}</tool_call>',
            '<tool_call>{"name": "stop_action", "arguments": "{}"}</tool_call>',
            '<tool_call>{"name": "stop_action", "arguments": ""}</tool_call>',
            '<think>or <tool_call>?</think><tool_call>{"name": "stop_action"}</tool_call>',
            '{"name": "stop_action", "arguments": {}}',  # nothing but the call, without its tags
            '```json\n{"name": "stop_action", "arguments": {}}\n```',
            '<think>right</think>\n{"name": "stop_action"}',
        ],
    )
    def test_forms_that_are_understood(self, text: str) -> None:
        assert parse_tool_call(text, VIEW) == Stop()

    def test_whole_numbers_written_with_a_point_are_integers(self) -> None:
        text = call("add_bbox", bbox_2d=[10.0, 20.0, 300.0, 400.0])

        assert isinstance(parse_tool_call(text, VIEW), AddBox)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "holds no tool call"),
            ("I would draw a box round the liver.", "holds no tool call"),
            (call("stop_action") * 2, "holds 2 tool calls; make exactly one"),
            ('<tool_call>{"name": "add_bbox", "argu', "no whole JSON"),
            ("<tool_call></tool_call>", "no whole JSON"),
            ("<tool_call>[1, 2]</tool_call>", "an object with"),
            ("<tool_call>null</tool_call>", "an object with"),
            ("<tool_call>" + "[" * 20_000, "no whole JSON"),  # deeper than the interpreter's stack
            (call("add_box", bbox_2d=[1, 2, 3, 4]), "no function 'add_box'; the functions are"),
            ('<tool_call>{"name": ["stop_action"]}</tool_call>', "no function"),
            ('<tool_call>{"arguments": {}}</tool_call>', "no function None"),
            ('<tool_call>{"name":"add_bbox","arguments":[1]}</tool_call>', "must be an object"),
            (call("add_bbox"), "list of 4 integers, not None"),
            (call("add_bbox", bbox_2d=[1, 2, 3]), "list of 4 integers"),
            (call("add_bbox", bbox_2d="1234"), "list of 4 integers"),
            (call("add_bbox", bbox_2d=[1, 2, 3, "4"]), "integers from 0 to 999"),
            (call("add_bbox", bbox_2d=[1, 2, 3, True]), "integers from 0 to 999"),
            (call("add_bbox", bbox_2d=[1, 2, 3, None]), "integers from 0 to 999"),
            (call("add_bbox", bbox_2d=[0.1, 0.2, 0.3, 0.4]), "not fractions"),
            (call("add_bbox", bbox_2d=[1, 2, 3, 1000]), "not in pixels; not 1000"),
            (call("add_bbox", bbox_2d=[-1, 2, 3, 4]), "not in pixels; not -1"),
            (call("add_bbox", bbox_2d=[1, 2, 3, float("nan")]), "NaN is no coordinate"),
            (call("add_bbox", bbox_2d=[1, 2, 3, float("inf")]), "Infinity is no coordinate"),
            ('<tool_call>{"name":"add_bbox","arguments":{"bbox_2d":[1,2,3,1e999]}}', "not inf"),
            (call("add_bbox", bbox_2d=[5, 2, 5, 4]), "empty or turned round"),
            (call("add_bbox", bbox_2d=[1, 9, 5, 4]), "empty or turned round"),
            (call("add_point", point_2d=[1, 2]), '"point_type" must be'),
            (call("add_point", point_2d=[1, 2], point_type=1), '"point_type" must be'),
            (call("add_point", point_2d=[1, 2], point_type="inside"), "not 'inside'"),
            (call("add_positive_point", x=1), "integers from 0 to 999, not None"),
            (call("absent_action", reason=3), '"reason" must be text'),
            ("x" * 40_001, "40001 characters"),
        ],
    )
    def test_what_is_wrong_is_said(self, text: str, says: str) -> None:
        assert says in fault(text)

    def test_a_long_answer_is_not_repeated_at_length(self) -> None:
        assert len(fault(call("z" * 10_000))) < 300

    def test_a_click_on_the_padding_is_refused(self) -> None:
        view = View.letterbox((100, 400), (400, 400))

        action = parse_tool_call(call("add_point", point_2d=[5, 5], point_type="positive"), view)

        assert action == Malformed("the point lies on the padding, outside the picture")


class TestNativeCalls:
    @pytest.mark.parametrize(
        "native",
        [
            {"name": "add_bbox", "arguments": {"bbox_2d": [10, 20, 300, 400]}},
            {"name": "add_bbox", "arguments": '{"bbox_2d": [10, 20, 300, 400]}'},
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "add_bbox", "arguments": '{"bbox_2d": [10, 20, 300, 400]}'},
            },
        ],
    )
    def test_each_shape(self, native: dict[str, Any]) -> None:
        assert near(parsed_native([native], VIEW), AddBox(Box(10, 40, 300, 800)))

    @pytest.mark.parametrize(
        ("native", "says"),
        [
            ([], "no tool call"),
            ([{"name": "stop_action"}] * 3, "3 tool calls"),
            (["stop_action"], "no whole JSON"),
            ([{"name": "stop_action", "arguments": "{"}], "no whole JSON"),
            ([{"name": "add_bbox", "arguments": {"bbox_2d": [1, 2, 3, 10**4000]}}], "not 1000"),
            ([{"name": "add_bbox", "arguments": {"bbox_2d": [1, 2, 3, float("nan")]}}], "NaN is"),
        ],
    )
    def test_what_is_wrong_is_said(self, native: list[object], says: str) -> None:
        action = parsed_native(native, VIEW)

        assert isinstance(action, Malformed)
        assert says in action.fault
