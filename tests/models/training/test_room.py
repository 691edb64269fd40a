"""The room of an episode, and that no picture of a batch is missing."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from models.errors import TrainingRefused, TrainingStopped
from models.policies.chat.in_process.loading import Loaded
from models.training.grpo_settings import GrpoSettings
from models.training.room import blank_picture, require_pictures, room_for

IMAGE, MERGED = 7, 4


@pytest.fixture(scope="module")
def toy() -> ModuleType:
    from tests.support.planners import toy_planner

    return toy_planner


@pytest.fixture(scope="module")
def loaded(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("room") / "model"
    toy.save_toy(folder)
    return toy.load_toy(folder)


def test_room_is_reckoned_from_turns_replies_pictures_and_words(
    toy: ModuleType, loaded: Loaded, tmp_path: Path
) -> None:
    prompts = toy.write_prompts(tmp_path / "prompts")
    room = room_for(
        loaded, GrpoSettings(turns=3, reply_tokens=10, image_px=64, prompts_folder=prompts)
    )
    longest = max(
        len(loaded.processor.tokenizer(toy.PROMPTS[name])["input_ids"])
        for name in ("next", "fault")
    )
    # 4 image tokens; 200 for marks, target and outcome
    assert room.completion_tokens == 3 * 10 + 2 * (4 + longest + 200)
    assert (room.reply_tokens, room.context_tokens) == (10, 4096)


def test_room_as_it_is_set(loaded: Loaded) -> None:
    settings = GrpoSettings(image_px=64, reply_tokens=10, completion_tokens=99)
    assert room_for(loaded, settings).completion_tokens == 99


def test_room_without_one_reply_is_refused(loaded: Loaded) -> None:
    with pytest.raises(TrainingRefused, match="no room for one reply of 10 tokens"):
        room_for(loaded, GrpoSettings(image_px=64, reply_tokens=10, completion_tokens=9))


def test_a_blank_picture_is_black() -> None:
    assert blank_picture(28).size == (28, 28)
    assert not blank_picture(28).pixels.any()


def batch(**changed: Any) -> dict[str, Any]:
    """Two rows: one of 4 image tokens and one of 4 + 1."""
    return {
        "prompt_ids": torch.tensor([[0, 7, 7, 7, 7], [0, 7, 7, 7, 7]]),
        "completion_ids": torch.tensor([[3, 0, 0], [3, 7, 3]]),
        "num_images": [1, 2],
        "image_grid_thw": torch.tensor([[1, 4, 4], [1, 4, 4], [1, 2, 2]]),
        "pixel_values": torch.zeros(16 + 16 + 4, 2),
        **changed,
    }


def test_a_whole_batch_passes() -> None:
    require_pictures(batch(), IMAGE, MERGED)


@pytest.mark.parametrize("missing", ["num_images", "image_grid_thw", "pixel_values"])
def test_pictures_that_were_dropped_stop_the_run(missing: str) -> None:
    with pytest.raises(TrainingStopped, match="dropped the pictures of a batch"):
        require_pictures(batch(**{missing: None}), IMAGE, MERGED)


@pytest.mark.parametrize(
    "changed",
    [
        {"completion_ids": torch.tensor([[3, 0, 0], [3, 3, 3]])},  # a length cut its tokens
        {"completion_ids": torch.tensor([[3, 7, 0], [3, 3, 3]])},  # right in sum, not by row
        {"num_images": [2, 1]},
        {"pixel_values": torch.zeros(35, 2)},
    ],
)
def test_a_row_with_other_tokens_than_features_stops_the_run(changed: dict[str, Any]) -> None:
    with pytest.raises(TrainingStopped, match="has lost a part of a picture"):
        require_pictures(batch(**changed), IMAGE, MERGED)
