"""The words of both protocols, as data: functions, arguments, and their older names.

Tool calls: MedSAM-Agent's three functions (Qwen/Hermes text tool calls) and our `absent_action` and
`name_slices`. Think/action: IBISAgent's clicks and its terminating action, which its prompt spells
Terminate and its reward Termination; `Box`, `Absent` and `Slices` are ours, so that every protocol
can say everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.protocol.coordinates import IN_THOUSANDTHS, CoordinateRange, Coordinates

ADD_BOX, ADD_POINT, STOP, ABSENT = "add_bbox", "add_point", "stop_action", "absent_action"
NAME_SLICES = "name_slices"

LEGACY_POINTS: Mapping[str, str] = {
    "add_positive_point": "positive",
    "add_negative_point": "negative",
}
"""Older names of `add_point`, with arguments {x, y}, and the sign that each stands for."""

SIGNS: Mapping[str, bool] = {"positive": True, "negative": False}


def _numbers(count: int, what: str, coordinates: CoordinateRange) -> dict[str, Any]:
    edge = coordinates.right
    far = f"{edge:g} right or bottom"
    if coordinates.bottom != edge:
        far = f"{edge:g} right, {coordinates.bottom:g} bottom"
        edge = max(edge, coordinates.bottom)
    unit = "in pixels of the image" if coordinates.kind is Coordinates.PIXELS else ""
    number = {
        "type": "integer" if coordinates.whole else "number",
        "minimum": 0,
        "maximum": edge,
    }
    return {
        "type": "array",
        "items": number,
        "minItems": count,
        "maxItems": count,
        "description": f"{what}, {unit or 'relative to the image'}: 0 is left or top, {far}",
    }


@dataclass(frozen=True)
class Tool:
    """One function: `name`, one sentence for the model, `arguments` as JSON Schema properties, all
    required except the `optional` ones.
    """

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


def slice_tools(coordinates: CoordinateRange) -> tuple[Tool, ...]:
    """What may be called on a slice, with `coordinates` as the model writes them."""
    return (
        Tool(
            ADD_BOX,
            "Draw a box round the target; it replaces an earlier box.",
            {"bbox_2d": _numbers(4, "left, top, right, bottom", coordinates)},
        ),
        Tool(
            ADD_POINT,
            "Click on a place that belongs to the target (positive) or does not (negative).",
            {
                "point_2d": _numbers(2, "x, y", coordinates),
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


TOOLS = slice_tools(IN_THOUSANDTHS)
"""What may be called on a slice in the tool-call protocol's own numbers."""

SLICE_NAMING = Tool(
    NAME_SLICES,
    "Name slices of the volume by the numbers that stand beside them.",
    {
        "slices": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0},
            "description": "slice numbers, the most important first",
        }
    },
)

LOCALISATION_TOOLS: tuple[Tool, ...] = (
    SLICE_NAMING,
    Tool(
        ABSENT,
        "Say that the target is nowhere in this volume.",
        {"reason": {"type": "string", "description": "what shows that it is not there"}},
        optional=("reason",),
    ),
)
"""What may be called when the target is looked for in the whole volume."""

ASSESSMENT_TOOLS: tuple[Tool, ...] = (
    SLICE_NAMING,
    Tool(STOP, "Say that the drawn outlines are right on every slice."),
)
"""What may be called when an object's outline is assessed on all its slices."""


@dataclass(frozen=True)
class Form:
    """One action of the think/action protocol: the `name` of the function it equals, its `syntax`,
    what it is for.
    """

    name: str
    syntax: str
    meaning: str


FORMS: tuple[Form, ...] = (
    Form(ADD_POINT, "Positive Point (x, y)", "a click on a place that belongs to the target"),
    Form(ADD_POINT, "Negative Point (x, y)", "a click on a place that does not"),
    Form(ADD_BOX, "Box (x1, y1, x2, y2)", "a box round the target; it replaces an earlier one"),
    Form(STOP, "Terminate", "the mask is right; add an <answer> with a sentence"),
    Form(ABSENT, "Absent", "the target is not there; say why in an <answer>"),
    Form(NAME_SLICES, "Slices (n1, n2, ...)", "slice numbers, the most important first"),
)
"""The think/action protocol's actions; fractions have four decimals."""

TERMINATING: tuple[str, ...] = ("terminate", "termination")
"""How IBISAgent's prompt and its reward spell the action that ends; the first is ours to write."""
