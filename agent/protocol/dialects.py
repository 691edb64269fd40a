"""From a model's reply to an action, and back, in either paper's protocol.

No reply raises: one without an action is `Malformed`, and its fault says what a right one would be.
"""

from __future__ import annotations

from enum import StrEnum

from agent.actions import Action
from agent.protocol.coordinates import IN_THOUSANDTHS, CoordinateRange
from agent.protocol.think_action import parse_think_action, render_think_action
from agent.protocol.tool_calls import parse_tool_call, render_tool_call
from agent.protocol.view import View


class Dialect(StrEnum):
    """How a language model writes its actions."""

    TOOL_CALL = "tool_call"  # MedSAM-Agent: <tool_call>{json}</tool_call>, integers 0-999
    THINK_ACTION = "think_action"  # IBISAgent: <think>…</think><action>…</action>, fractions 0-1


def parse_reply(
    text: str, view: View, dialect: Dialect, coordinates: CoordinateRange = IN_THOUSANDTHS
) -> Action:
    """The action of a reply, in pixels of the slice that `view` shows; Malformed without one.

    `coordinates` are the numbers of tool calls; a think/action reply has fractions.
    """
    if dialect is Dialect.TOOL_CALL:
        return parse_tool_call(text, view, coordinates)
    return parse_think_action(text, view)


def render_reply(action: Action, view: View, dialect: Dialect, reasoning: str = "") -> str:
    """The reply for `action`, with `reasoning` before it; ValueError for a malformed action.

    `parse_reply` gives the action back, to the protocol's rounding: 1/999 or 1/10000 of the image.
    """
    if dialect is Dialect.THINK_ACTION:
        return render_think_action(action, view, reasoning)
    call = render_tool_call(action, view)
    # reasoning cannot hold the protocol's tag, or the reply would hold two calls
    return f"{reasoning.replace('<', '&lt;')}\n{call}" if reasoning else call
