"""In what each family writes places, and where its boxes land."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from agent.actions import AddBox, Malformed
from agent.fakes import ArraySlices, FakeSegmenter
from agent.language.chat import Answer, Conversation
from agent.language.policy import LanguagePolicy
from agent.language.settings import LanguageSettings, WrongSetting
from agent.ports import Observation
from agent.protocol.coordinates import Coordinates, SizePx
from agent.protocol.dialects import Dialect
from agent.values import Box, Role, Target
from models.policies.chat.families import AREA_PX, coordinates_of, resized_px

SIDE = 256
MEANT = Box(64, 32, 191, 127)
"""On a slice of 256 pixels: a quarter from the left, an eighth from the top, and so on."""


class Family:
    """A model of a family that means MEANT and writes it as its family does."""

    def __init__(self, name: str) -> None:
        self.name, self.coordinates = name, coordinates_of(name)
        self.told = ""

    def seen_px(self, size_px: SizePx) -> SizePx:
        return resized_px(size_px)

    def answer(
        self, conversations: Sequence[Conversation], *, temperature: float, max_new_tokens: int
    ) -> list[Answer]:
        assert (temperature, max_new_tokens) == (0.0, 512)
        return [self._answer(conversation) for conversation in conversations]

    def _answer(self, conversation: Conversation) -> Answer:
        self.told = conversation.messages[0].text
        (picture,) = conversation.pictures
        width, height = self.seen_px(picture.size)
        edges = (width, height) if "2.5" in self.name else (1000, 1000)
        shares = (MEANT.x0 / SIDE, MEANT.y0 / SIDE, MEANT.x1 / SIDE, MEANT.y1 / SIDE)
        box = [round(share * edges[n % 2]) for n, share in enumerate(shares)]
        call = {"name": "add_bbox", "arguments": {"bbox_2d": box}}
        return Answer(f"<tool_call>{json.dumps(call)}</tool_call>")


def box_of(chat: Family, settings: LanguageSettings) -> Box:
    image = np.zeros((1, SIDE, SIDE), dtype=np.float32)
    slices = ArraySlices(image, FakeSegmenter())
    observation = Observation(Target("liver"), slices, 0, Role.KEY)
    action = LanguagePolicy(chat, settings).act(observation).action
    assert isinstance(action, AddBox), action
    return action.box


def off_px(box: Box) -> float:
    """The largest distance of a side from where it was meant."""
    sides = (box.x0, box.y0, box.x1, box.y1)
    meant = (MEANT.x0, MEANT.y0, MEANT.x1, MEANT.y1)
    return max(abs(side - other) for side, other in zip(sides, meant, strict=True))


@pytest.mark.parametrize("image_px", [512, 500, 0])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", Coordinates.PIXELS),
        ("Qwen/Qwen3-VL-8B-Instruct", Coordinates.THOUSANDTHS),
        ("Qwen/Qwen2-VL-7B-Instruct", Coordinates.THOUSANDTHS),
        ("gemma", Coordinates.AUTO),
    ],
)
def test_each_family_s_box_lands_where_it_was_meant(
    name: str, kind: Coordinates, image_px: int
) -> None:
    chat = Family(name)

    box = box_of(chat, LanguageSettings(image_px=image_px))

    assert chat.coordinates is kind
    assert off_px(box) < 1.0
    assert ("in pixels of the image" in chat.told) == (kind is Coordinates.PIXELS)


def test_read_in_thousandths_pixels_land_at_half_their_size() -> None:
    chat = Family("qwen2.5-vl")

    box = box_of(chat, LanguageSettings(coordinates=Coordinates.THOUSANDTHS))

    assert box.x1 == pytest.approx(MEANT.x1 * 504 / 1000, abs=1)


def test_the_setting_goes_before_the_family() -> None:
    chat = Family("my-own")  # of a name that tells nothing, and writes thousandths
    settings = LanguageSettings(coordinates=Coordinates.THOUSANDTHS)

    assert off_px(box_of(chat, settings)) < 1.0


def test_fractions_are_read_and_whole_pixels_beside_the_picture_are_not() -> None:
    class Writes(Family):
        def __init__(self, *numbers: float) -> None:
            super().__init__("any")
            self.numbers = numbers

        def _answer(self, conversation: Conversation) -> Answer:
            self.told = conversation.messages[0].text
            call = {"name": "add_bbox", "arguments": {"bbox_2d": list(self.numbers)}}
            return Answer(f"<tool_call>{json.dumps(call)}</tool_call>")

    fractions = LanguageSettings(coordinates=Coordinates.FRACTIONS)
    assert off_px(box_of(Writes(0.25, 0.125, 0.75, 0.5), fractions)) < 1.0

    slices = ArraySlices(np.zeros((1, SIDE, SIDE), dtype=np.float32), FakeSegmenter())
    pixels = LanguagePolicy(Writes(0, 0, 600, 90), LanguageSettings(coordinates=Coordinates.PIXELS))
    action = pixels.act(Observation(Target("liver"), slices, 0, Role.KEY)).action
    assert isinstance(action, Malformed)
    assert "integers from 0 to 503, in pixels of the image; not 600" in action.fault


def test_a_box_may_end_at_the_picture_s_far_edge() -> None:
    class ToTheEdge(Family):
        def _answer(self, conversation: Conversation) -> Answer:
            assert conversation.messages
            call = {"name": "add_bbox", "arguments": {"bbox_2d": [0, 0, 504, 504]}}
            return Answer(f"<tool_call>{json.dumps(call)}</tool_call>")

    box = box_of(ToTheEdge("qwen2.5-vl"), LanguageSettings())
    assert (box.x1, box.y1) == (SIDE - 1, SIDE - 1)


def test_think_action_has_fractions_only() -> None:
    with pytest.raises(WrongSetting, match="must be auto or fractions"):
        LanguageSettings(dialect=Dialect.THINK_ACTION, coordinates=Coordinates.PIXELS)


@pytest.mark.parametrize("size_px", [(512, 512), (640, 480), (40, 30), (5000, 4000), (29, 900)])
def test_pictures_are_resized_as_the_published_processor_does(size_px: SizePx) -> None:
    width, height = size_px
    rows, columns = smart_resize(height, width, min_pixels=AREA_PX[0], max_pixels=AREA_PX[1])

    assert resized_px(size_px) == (columns, rows)
