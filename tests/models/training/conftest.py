"""Small random planners whose tokenizer knows the prompts' words, and scripted trajectories for
them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from models.training.grpo_settings import GrpoSettings
from tests.support.fixture_types import PlannerFolders
from tests.support.scripted_trajectories import corrected, write_rows, write_trajectories

FAMILIES = ("qwen3_vl", "qwen2_5_vl")


@pytest.fixture(scope="session")
def toy_trajectories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 trajectories of 4 patients; where the structure is there, a wrong click comes
    first.
    """
    folder = tmp_path_factory.mktemp("trajectories") / "data"
    write_trajectories(folder, script=corrected)
    return folder


@pytest.fixture(scope="session")
def few_trajectories(toy_trajectories: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three of one patient and one of another."""
    data = tmp_path_factory.mktemp("few") / "data"
    shutil.copytree(toy_trajectories, data)
    lines = next(data.glob("*.jsonl")).read_text().splitlines()
    write_rows(data, [json.loads(lines[number]) for number in (0, 1, 2, 12)])
    return data


@pytest.fixture(scope="session")
def planner_folders(tmp_path_factory: pytest.TempPathFactory) -> PlannerFolders:
    """The folder of a random model of a family, which the policy "transformers" loads."""
    import torch

    from tests.support import chat_folders
    from tests.support.token_golden import planner_size

    torch.set_num_threads(1)  # more only wait for each other on matrices this small
    root = tmp_path_factory.mktemp("planners")

    def folder(family: str) -> Path:
        made = root / family
        if not made.exists():
            getattr(chat_folders, f"save_{family}")(made, planner_size())
        return made

    return folder


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """What makes toy planners and their squares."""
    import torch

    torch.set_num_threads(1)  # more only wait for each other on matrices this small
    from tests.support.planners import toy_planner

    return toy_planner


@pytest.fixture(scope="session")
def grpo() -> ModuleType:
    """The trainer; TRL takes seconds to load."""
    from models.training import grpo

    return grpo


@pytest.fixture(scope="session")
def prompts(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_prompts(tmp_path_factory.mktemp("prompts"))


@pytest.fixture(scope="session")
def raw(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that was taught nothing."""
    folder = tmp_path_factory.mktemp("raw") / "model"
    toy.save_toy(folder)
    return folder


@pytest.fixture(scope="session")
def taught(toy: ModuleType, prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planner that begins well one time in four."""
    folder = tmp_path_factory.mktemp("taught") / "model"
    toy.save_taught(folder, prompts)
    return folder


@pytest.fixture(scope="session")
def quick(prompts: Path) -> GrpoSettings:
    """Steps of four episodes of two short replies."""
    return GrpoSettings(
        turns=2,
        steps=2,
        prompts=2,
        group=2,
        per_device=2,
        reply_tokens=4,
        image_px=64,
        repeat_pictures=True,  # two pictures an episode, though neither reply changes anything
        learning_rate=1e-3,
        save_every=1,
        prompts_folder=prompts,
    )
