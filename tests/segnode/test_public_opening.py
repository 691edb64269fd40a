"""Models by name: loaded once for each choice; the package shows what it says and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import segnode
from agent.values import Box, Prompts
from segnode.opening import loaded_models


def test_a_segmenter_is_loaded_once_and_draws() -> None:
    segmenter = segnode.open_segmenter("fake")
    image = np.zeros((64, 64), np.float32)
    image[20:40, 20:40] = 1.0

    drawn = segmenter.segment(segmenter.encode(image), Prompts(box=Box(15, 15, 45, 45)))

    assert drawn.mask[30, 30]
    assert segnode.open_segmenter("fake") is segmenter


def test_a_policy_is_loaded_once() -> None:
    policy = segnode.open_policy("threshold", segmenter="fake")

    assert policy.name == "threshold"
    assert segnode.open_policy("threshold", segmenter="fake") is policy


def test_another_configuration_is_another_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = loaded_models("threshold", "fake", ())
    (tmp_path / "few.toml").write_text("[agent]\nmax_turns = 2\n")

    from_file = loaded_models("threshold", "fake", [tmp_path / "few.toml"])
    monkeypatch.setenv("SEGNODE_AGENT__MAX_TURNS", "3")
    from_environment = loaded_models("threshold", "fake", ())

    assert before is not from_environment
    assert (from_file.limits.max_turns, from_environment.limits.max_turns) == (2, 3)


def test_a_trace_that_is_none_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_text("[]")

    with pytest.raises(segnode.SegnodeErrors, match="trace"):
        segnode.load_trace(tmp_path / "trace.json")


def test_every_public_name_is_there_and_documented() -> None:
    for name in segnode.__all__:
        assert getattr(segnode, name).__doc__, name
    assert (Path(segnode.__file__).parent / "py.typed").is_file()
