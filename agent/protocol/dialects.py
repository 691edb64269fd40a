"""From a model's words to an action, and back, in either paper's protocol.

Nothing a model says raises: what is no action is `Malformed`, and its fault says what would have
been one.
"""

from __future__ import annotations

from enum import StrEnum

from agent.actions import Action
from agent.protocol.think_action import parse_think_action, render_think_action
from agent.protocol.tool_calls import parse_tool_call, render_tool_call
from agent.protocol.view import View


class Dialect(StrEnum):
    """How a language model writes its actions."""

    TOOL_CALL = "tool_call"  # MedSAM-Agent: <tool_call>{json}</tool_call>, integers 0-999
    THINK_ACTION = "think_action"  # IBISAgent: <think>…</think><action>…</action>, fractions 0-1


def parse_reply(text: str, view: View, dialect: Dialect) -> Action:
    """The action a reply means, in pixels of the slice that `view` shows; Malformed for anything
    else.
    """
    if dialect is Dialect.TOOL_CALL:
        return parse_tool_call(text, view)
    return parse_think_action(text, view)


def render_reply(action: Action, view: View, dialect: Dialect, thought: str = "") -> str:
    """A reply that means `action`, with a thought before it; ValueError for a malformed action.

    `parse_reply` of it gives the action back, to the protocol's rounding (1/999 or 1/10000 of the
    image).
    """
    if dialect is Dialect.THINK_ACTION:
        return render_think_action(action, view, thought)
    call = render_tool_call(action, view)
    # a thought cannot hold the protocol's tag, or the reply would hold two calls
    return f"{thought.replace('<', '&lt;')}\n{call}" if thought else call
