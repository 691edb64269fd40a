"""Whole episodes with a language model that talks nonsense: a clear end, nothing lost, nothing
crashed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agent.actions import Malformed
from agent.episode.loop import run_episode, run_together
from agent.fakes import ArraySlices, FakeSegmenter
from agent.language.policy import LanguagePolicy
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.ports import Observation
from agent.protocol.dialects import Dialect
from agent.values import Role, Target
from models.policies.chat.in_process.loading import Loaded
from models.policies.chat.in_process.transformers_chat import TransformersChat
from server.cli import main

FAMILIES = ["qwen3_vl", "qwen2_5_vl", "llava", "gemma3"]


@pytest.fixture
def slices() -> ArraySlices:
    array = np.random.default_rng(0).random((3, 48, 64), dtype=np.float32)
    return ArraySlices(array, FakeSegmenter())


@pytest.fixture
def policy(load: Callable[..., Loaded]) -> Callable[..., LanguagePolicy]:
    """A planner on a family's tiny model; nonsense is the same at every try."""

    def made(family: str, dialect: Dialect = Dialect.TOOL_CALL, batch: int = 8) -> LanguagePolicy:
        settings = LanguageSettings(dialect=dialect, max_new_tokens=6, retry_temperature=0.0)
        return LanguagePolicy(TransformersChat(load(family), batch=batch), settings)

    return made


def finished(turns: Any) -> Any:
    """All turns and the value that a generator of turns returned."""
    said = []
    while True:
        try:
            said.append(next(turns))
        except StopIteration as end:
            return said, end.value


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("family", FAMILIES)
def test_nonsense_becomes_malformed_turns_and_an_end(
    family: str, dialect: Any, policy: Callable[..., LanguagePolicy], slices: ArraySlices
) -> None:
    start = Observation(Target("liver"), slices, 1, Role.KEY)

    turns, episode = finished(
        run_episode(start, policy(family, dialect), FakeSegmenter(), Limits())
    )

    assert 1 <= len(turns) <= Limits().max_turns
    assert all(isinstance(turn.action, Malformed) for turn in turns)
    assert all(turn.usage is not None and turn.usage.input_tokens > 0 for turn in turns)
    assert episode.best is None


def test_episodes_in_lock_step_say_what_each_says_alone(
    policy: Callable[..., LanguagePolicy], slices: ArraySlices
) -> None:
    words = ("liver", "spleen", "the organ that stores bile")
    starts = [Observation(Target(text), slices, z, Role.KEY) for z, text in enumerate(words)]
    limits = replace(Limits(), refusals_in_a_row=5)

    together, _ = finished(run_together(starts, policy("qwen3_vl"), FakeSegmenter(), limits))
    alone = [
        (index, turn.reply)
        for index, start in enumerate(starts)
        for turn in finished(run_episode(start, policy("qwen3_vl"), FakeSegmenter(), limits))[0]
    ]

    assert sorted((index, turn.reply) for index, turn in together) == sorted(alone)
    assert len(together) == 3 * 5


def test_the_segment_command_ends_clearly_with_a_model_that_talks_nonsense(
    model_folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "us.png")
    monkeypatch.setenv("SEGNODE_STORAGE__DIR", str(tmp_path / "var"))
    monkeypatch.setenv("SEGNODE_STORAGE__MINIMUM_FREE_BYTES", "0")
    monkeypatch.setenv("SEGNODE_LANGUAGE__MODEL", str(model_folders["qwen3_vl"]))
    monkeypatch.setenv("SEGNODE_LANGUAGE__MAX_NEW_TOKENS", "6")
    out = tmp_path / "out"
    words = ["segment", str(tmp_path / "us.png"), "--target", "breast lesion", "--out", str(out)]

    code = main([*words, "--policy", "transformers", "--segmenter", "fake"])

    assert code == 0
    (target,) = json.loads((out / "trace.json").read_text())["targets"]
    assert target["status"] in ("failed", "absent")
    assert target["turns"]
    assert "breast lesion" in capsys.readouterr().out
