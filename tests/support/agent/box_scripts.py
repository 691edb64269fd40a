"""Scripts of boxes for a policy, and a segmenter that fills the box it is given: a script of boxes
is a script of masks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from agent.actions import Action, AddBox, Stop
from agent.fakes import FakeEncoding, segmentation
from agent.ports import Encoding, PromptedSlice, Reply
from agent.turns import TargetResult, Turn
from agent.values import Box, PromptKind, Prompts, Role, Segmentation, Target

DEPTH = 9
LIVER = Target("liver", "liver")


class FillsBoxes:
    """A segmenter whose mask is the box."""

    name = "fills boxes"
    supported_prompts = frozenset({PromptKind.BOX})

    def encode(self, image: np.ndarray) -> FakeEncoding:
        return FakeEncoding(image)

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        return [self.segment(ask.encoding, ask.prompts) for ask in asks]

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        mask = np.zeros(encoding.source_shape, dtype=np.bool_)
        box = prompts.box
        assert box is not None
        mask[int(box.y0) : int(box.y1) + 1, int(box.x0) : int(box.x1) + 1] = True
        return segmentation(mask, 0.9)


def square(side: int, left: int = 10, top: int = 10) -> AddBox:
    return AddBox(Box(left, top, left + side - 1, top + side - 1))


Script = Mapping[int, AddBox | Sequence[Action]]


def by_slice(role: Role, script: Script) -> dict[Role | tuple[int, Role], Iterable[Action | Reply]]:
    """A script for a role; a box alone is a box and a stop."""
    return {
        (z, role): [said, Stop()] if isinstance(said, AddBox) else list(said)
        for z, said in script.items()
    }


def areas(result: TargetResult) -> list[int]:
    assert result.voxels is not None
    return [int(area) for area in result.voxels.sum(axis=(1, 2))]


def slices_asked(turns: Sequence[Turn], role: Role) -> list[int]:
    return list(dict.fromkeys(turn.slice_index for turn in turns if turn.role is role))
