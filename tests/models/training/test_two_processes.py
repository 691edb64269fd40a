"""A run in two processes on CPUs: what it learns is what one process learns, and the model's layers
can be spread over both.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.fixture_types import PlannerFolders

pytest.importorskip("trl")

import torch

from models.training.sft import SftSettings, train_sft
from tests.support.ports import free_port
from tests.support.token_golden import loaded_planner

SETTINGS: dict[str, Any] = {
    "steps": 3,
    "batch": 1,
    "accumulate": 1,
    "learning_rate": 3e-3,
    "held_out": 0.0,  # four are learnt: two of them a step, in two processes or in one
    "device": "cpu",
}


@pytest.fixture(scope="module")
def together(
    few_trajectories: Path,
    planner_folders: PlannerFolders,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder of a run in two gloo processes."""
    out = tmp_path_factory.mktemp("together") / "run"
    words = [few_trajectories, planner_folders("qwen3_vl"), out, json.dumps(SETTINGS)]
    launch = ["torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    command = [
        sys.executable,
        "-m",
        *launch,
        "-m",
        "tests.support.training.two_processes",
        *map(str, words),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-4000:]
    return out


def losses(out: Path) -> list[float]:
    """The loss of each step, as the run's last checkpoint has it."""
    state = json.loads((out / "checkpoints" / "checkpoint-3" / "trainer_state.json").read_text())
    return [each["loss"] for each in state["log_history"]]


def test_two_processes_learn_what_one_learns_from_both_batches(
    together: Path, few_trajectories: Path, planner_folders: PlannerFolders, tmp_path: Path
) -> None:
    alone = SftSettings(**SETTINGS | {"batch": 2})
    train_sft(few_trajectories, planner_folders("qwen3_vl"), tmp_path / "alone", alone)

    # a mean of two processes' means, not of all tokens, is off by 5e-4
    assert losses(together) == pytest.approx(losses(tmp_path / "alone"), rel=5e-5)
    assert len(losses(together)) == 3
    assert (together / "model" / "training.json").is_file()


def test_passes_of_one_step_learn_what_one_pass_learns(
    few_trajectories: Path, planner_folders: PlannerFolders, tmp_path: Path
) -> None:
    for name, passes in (("one", {"batch": 2}), ("two", {"accumulate": 2})):
        settings = SftSettings(**SETTINGS | passes)
        train_sft(few_trajectories, planner_folders("qwen3_vl"), tmp_path / name, settings)

    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=5e-5)


def test_every_layer_can_be_sharded_over_both_and_learns(together: Path) -> None:
    sharded = json.loads((together / "sharded.json").read_text())

    assert sharded["all_sharded"]
    assert sharded["share"] == pytest.approx(0.5, abs=0.01)
    assert sharded["losses"][-1] < sharded["losses"][0] - 0.5


def test_a_sharded_model_is_saved_whole_as_serving_loads_it(
    together: Path, planner_folders: PlannerFolders
) -> None:
    trained = torch.load(together / "sharded-model.pt")
    before = dict(loaded_planner(planner_folders("qwen3_vl")).model.named_parameters())
    served = dict(loaded_planner(together / "sharded-model").model.named_parameters())

    assert served.keys() == trained.keys()
    assert all(torch.equal(served[name], trained[name]) for name in trained)
    assert any(not torch.equal(served[name], before[name]) for name in before)


def test_sharded_adapters_are_merged_into_whole_weights(
    together: Path, planner_folders: PlannerFolders
) -> None:
    adapted = torch.load(together / "sharded-lora.pt")
    before = dict(loaded_planner(planner_folders("qwen3_vl")).model.named_parameters())
    served = dict(loaded_planner(together / "sharded-lora").model.named_parameters())

    assert (together / "sharded-lora" / "adapter" / "adapter_model.safetensors").is_file()
    changed = {name for name in before if not torch.equal(served[name], before[name])}
    assert changed == {name for name in before if "q_proj" in name}
    for name in changed:
        of = f"base_model.model.{name.removesuffix('.weight')}"
        down, up = (adapted[f"{of}.lora_{side}.default.weight"] for side in "AB")
        scale = 8 / 2  # peft's lora_alpha over the rank
        torch.testing.assert_close(served[name], before[name] + scale * up @ down)
