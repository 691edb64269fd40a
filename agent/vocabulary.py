"""The words of both protocols, as data: names, arguments, and what else has been called the same.

Tool calls: MedSAM-Agent's three functions (Qwen/Hermes text tool calls) and our `absent_action`.
Think/action: IBISAgent's clicks and its terminating action, which its prompt spells Terminate and its
reward Termination; `Box` and `Absent` are ours, so that every protocol can say everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ADD_BOX, ADD_POINT, STOP, ABSENT = "add_bbox", "add_point", "stop_action", "absent_action"

LEGACY_POINTS: Mapping[str, str] = {
    "add_positive_point": "positive",
    "add_negative_point": "negative",
}
"""Older names of `add_point`, with arguments {x, y}, and the sign that each stands for."""

SIGNS: Mapping[str, bool] = {"positive": True, "negative": False}


def _numbers(count: int, what: str) -> dict[str, Any]:
    number = {"type": "integer", "minimum": 0, "maximum": 999}
    return {
        "type": "array",
        "items": number,
        "minItems": count,
        "maxItems": count,
        "description": f"{what}, relative to the image: 0 is left or top, 999 right or bottom",
    }


@dataclass(frozen=True)
class Tool:
    """One function: `name`, one sentence for the model, `arguments` as JSON Schema properties, all required."""

    name: str
    description: str
    arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    optional: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """The function as chat templates and OpenAI-compatible servers take it."""
        parameters = {
            "type": "object",
            "properties": {name: dict(schema) for name, schema in self.arguments.items()},
            "required": [name for name in self.arguments if name not in self.optional],
        }
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": parameters,
        }
        return {"type": "function", "function": function}


TOOLS: tuple[Tool, ...] = (
    Tool(
        ADD_BOX,
        "Draw a box round the target; it replaces an earlier box.",
        {"bbox_2d": _numbers(4, "left, top, right, bottom")},
    ),
    Tool(
        ADD_POINT,
        "Click on a place that belongs to the target (positive) or does not (negative).",
        {
            "point_2d": _numbers(2, "x, y"),
            "point_type": {"type": "string", "enum": list(SIGNS)},
        },
    ),
    Tool(STOP, "Say that the mask is right and end."),
    Tool(
        ABSENT,
        "Say that the target is not in this image and end.",
        {"reason": {"type": "string", "description": "what shows that it is not there"}},
        optional=("reason",),
    ),
)

TERMINATING: tuple[str, ...] = ("terminate", "termination")
"""How IBISAgent's prompt and its reward spell the action that ends; the first is ours to write."""
