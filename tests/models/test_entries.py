"""What an entry must say of a segmenter or policy, and what it may not leave out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.fakes import FakeSegmenter, ThresholdPolicy
from agent.values import PromptKind
from models.entries import Needs, PolicyEntry, SegmenterEntry
from models.runtime.resources import Resources

BOX = frozenset({PromptKind.BOX})
SMALL = Needs(encode_bytes=1 << 20, ask_bytes=1 << 10)
WHOLE = Needs(encode_bytes=1 << 20, ask_bytes=1 << 10, object_bytes=1 << 20)


def build(_: Resources, __: Path) -> FakeSegmenter:
    """A segmenter without weights."""
    return FakeSegmenter()


def test_an_entry_without_memory_is_an_error() -> None:
    without_memory: dict[str, Any] = {"build": build, "prompts": BOX}

    with pytest.raises(TypeError, match="needs"):
        SegmenterEntry(**without_memory)


@pytest.mark.parametrize(
    "needs", [{"encode_bytes": 0, "ask_bytes": 1}, {"encode_bytes": 1, "ask_bytes": 0}]
)
def test_memory_of_nothing_is_an_error(needs: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="needs memory"):
        Needs(**needs)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompts": frozenset()}, "at least one kind of prompt"),
        ({"follows": True}, "memory for each"),
        ({"draws_volumes": True}, "memory for each"),
        ({"draws_volumes": True, "follows": True, "needs": WHOLE}, "not both"),
        ({"prompts": frozenset({PromptKind.SCRIBBLE})}, "draws volumes"),
        ({"keeps": True}, "there are none"),
    ],
)
def test_an_entry_that_contradicts_itself_is_an_error(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegmenterEntry(**{"build": build, "prompts": BOX, "needs": SMALL, **fields})


def test_a_policy_that_reads_encodings_can_do_without_that_segmenter() -> None:
    with pytest.raises(ValueError, match="how to do without"):
        PolicyEntry(lambda _: ThresholdPolicy(), reads="litemedsam")
