"""`segnode train grpo` from a folder of data to a model that serving loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.training.grpo_settings import GrpoSettings
from server.settings import load_settings
from tests.support.dataset_folders import nnunet_folder

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


def test_a_data_set_becomes_a_planner(tmp_path: Path) -> None:
    import torch

    torch.set_num_threads(1)
    from server.compose.training.grpo import GrpoRun, run
    from tests.support.planners.toy_planner import load_toy, save_toy, write_prompts

    save_toy(tmp_path / "base")
    site = load_settings(
        [],
        environment={"SEGNODE_AGENT__SEGMENTER": "fake", "SEGNODE_MODELS__DEVICE": "cpu"},
    )
    training = GrpoSettings(
        turns=1,
        steps=1,
        prompts=1,
        group=2,
        per_device=2,
        reply_tokens=2,
        image_px=64,
        prompts_folder=write_prompts(tmp_path / "prompts"),
    )
    told: list[str] = []
    of = GrpoRun(nnunet_folder(tmp_path / "data"), "train", tmp_path / "base", tmp_path / "run")

    result = run(site, training, of, told.append)

    assert result.steps == 1
    assert told[0] == "2 starts, 1 x 2 episodes a step"  # liver and tumour of the training patient
    assert told[1].startswith("step 1 of 1, reward ")
    assert load_toy(result.model).name == "model"
