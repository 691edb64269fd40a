"""Slices are named in either protocol; everything else is a fault that helps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.actions import Absent, Malformed, NameSlices, Stop
from agent.protocol.dialects import Dialect
from agent.protocol.slice_replies import parse_assessment, parse_localisation, render_naming

TOOL, THINK = Dialect.TOOL_CALL, Dialect.THINK_ACTION


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


@pytest.mark.parametrize(
    ("dialect", "text", "answer"),
    [
        (TOOL, call("name_slices", slices=[12, 30]), NameSlices((12, 30))),
        (TOOL, call("name_slices", slices=[12, 30, 12]), NameSlices((12, 30))),
        (TOOL, call("name_slices", slices=12), NameSlices((12,))),  # the brackets left out
        (TOOL, call("name_slices", slices=[0, 39]), NameSlices((0, 39))),  # the outermost
        (TOOL, '{"name": "name_slices", "arguments": {"slices": [3]}}', NameSlices((3,))),
        (TOOL, call("absent_action", reason="removed"), Absent("removed")),
        (TOOL, call("absent_action"), Absent("")),
        (THINK, "<think>a</think><action>Slices (12, 30)</action>", NameSlices((12, 30))),
        (THINK, "<action>slice (12)</action>", NameSlices((12,))),
        (THINK, "<action>\nSlices(0,39)\n</action>", NameSlices((0, 39))),
        (THINK, "<action>Absent</action><answer>removed</answer>", Absent("removed")),
    ],
)
def test_what_a_survey_understands(
    dialect: Dialect, text: str, answer: NameSlices | Absent
) -> None:
    assert parse_localisation(text, 40, dialect) == answer


@pytest.mark.parametrize(
    ("dialect", "text", "says"),
    [
        (TOOL, "slice 12", "holds no tool call"),
        (TOOL, call("name_slices", slices=[12, 40]), "40 is no slice of this volume"),
        (TOOL, call("name_slices", slices=[-1]), "numbered 0 to 39"),
        (TOOL, call("name_slices", slices=[1.5]), "1.5 is no slice"),
        (TOOL, call("name_slices", slices=[True]), "True is no slice"),
        (TOOL, call("name_slices", slices=["12"]), "'12' is no slice"),
        (TOOL, call("name_slices", slices="12"), "'12' is no slice"),
        (TOOL, call("name_slices", slices=[]), "name the slices"),
        (TOOL, call("name_slices"), "None is no slice"),
        (TOOL, call("add_point", point_2d=[1, 2]), "'add_point' is not for a whole volume"),
        (TOOL, call("stop_action"), "name the slices"),
        (TOOL, call("name_slices", slices=[1]) * 2, "2 tool calls"),
        (TOOL, "<tool_call>[1]</tool_call>", "an object with"),
        (THINK, "slice 12", "holds no action"),
        (THINK, "<action>Slices (12, 40)</action>", "40 is no slice of this volume"),
        (THINK, "<action>Slices (twelve)</action>", "'twelve' is no slice"),
        (THINK, "<action>Slices (-3)</action>", "'-3' is no slice"),
        (THINK, "<action>Slices (" + "9" * 5000 + ")</action>", "is no slice"),
        (THINK, "<action>Slices ()</action>", "name the slices"),
        (THINK, "<action>Terminate</action>", "name the slices"),
        (THINK, "<action>Positive Point (0.5, 0.5)</action>", "names no slices"),
    ],
)
def test_what_is_wrong_with_a_survey_is_said(dialect: Dialect, text: str, says: str) -> None:
    answer = parse_localisation(text, 40, dialect)

    assert isinstance(answer, Malformed)
    assert says in answer.fault
    assert len(answer.fault) < 300


@pytest.mark.parametrize(
    ("dialect", "text", "slices"),
    [
        (TOOL, call("name_slices", slices=[12, 3]), (12, 3)),
        (TOOL, call("name_slices", slices=[]), ()),
        (TOOL, call("stop_action"), ()),
        (THINK, "<action>Slices (12, 3)</action>", (12, 3)),
        (THINK, "<action>Termination</action>", ()),
    ],
)
def test_what_an_inspection_understands(
    dialect: Dialect, text: str, slices: tuple[int, ...]
) -> None:
    assert parse_assessment(text, 40, dialect) == NameSlices(slices)


@pytest.mark.parametrize(
    ("dialect", "text"),
    [(TOOL, call("absent_action")), (THINK, "<action>Absent</action>"), (TOOL, "")],
)
def test_a_drawn_object_is_not_absent(dialect: Dialect, text: str) -> None:
    assert isinstance(parse_assessment(text, 40, dialect), Malformed)


@given(
    st.sampled_from(list(Dialect)),
    st.one_of(
        st.lists(st.integers(0, 39), min_size=1, unique=True).map(lambda s: NameSlices(tuple(s))),
        st.text(max_size=30).map(lambda reason: Absent(reason.strip())),
    ),
    st.text(max_size=30),
)
def test_what_is_rendered_is_understood(
    dialect: Dialect, answer: NameSlices | Absent, thought: str
) -> None:
    assert parse_localisation(render_naming(answer, dialect, thought), 40, dialect) == answer


@pytest.mark.parametrize("dialect", list(Dialect))
def test_content_is_rendered_too(dialect: Dialect) -> None:
    assert parse_assessment(render_naming(Stop(), dialect), 3, dialect) == NameSlices(())


@given(st.sampled_from(list(Dialect)), st.text(max_size=80))
def test_any_text_is_an_answer_or_a_fault(dialect: Dialect, text: str) -> None:
    wrapped = f"<tool_call>{text}</tool_call><action>{text}</action>"

    for said in (text, wrapped):
        assert isinstance(parse_localisation(said, 5, dialect), NameSlices | Absent | Malformed)
