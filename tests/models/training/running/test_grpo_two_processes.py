"""A GRPO run in two processes on CPUs: one set of weights, other prompts each, figures of both; and
a step of its loss on a model of which each holds a half.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean
from types import ModuleType
from typing import Any

import pytest

from models.training.grpo_settings import GrpoSettings
from tests.support.ports import free_port

SQUARES = 4


@pytest.fixture(scope="module")
def processes(
    toy: ModuleType, taught: Path, quick: GrpoSettings, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What each of two gloo processes says of two steps."""
    out = tmp_path_factory.mktemp("together") / "run"
    settings = replace(quick, group=4, per_device=4, reply_tokens=toy.REPLY_TOKENS)
    launch = ["torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    module = "tests.support.training.two_grpo_processes"
    words = [taught, out, SQUARES, json.dumps(settings.record)]
    command = [sys.executable, "-m", *launch, "-m", module, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-4000:]
    assert (out / "model" / "training.json").is_file()
    return [json.loads((out / f"process-{rank}.json").read_text()) for rank in range(2)]


def test_both_have_the_same_weights_after_the_steps(processes: list[dict[str, Any]]) -> None:
    first, second = processes

    assert first["kind"] == second["kind"] == "DistributedDataParallel"
    assert first["weights"] == second["weights"]


def test_each_takes_other_prompts_and_whole_groups(processes: list[dict[str, Any]]) -> None:
    first, second = (process["prompts"] for process in processes)

    assert len(first) == len(second) == 2
    for ours, theirs in zip(first, second, strict=True):
        assert len(ours) == len(theirs) == 4
        assert len(set(ours)) == len(set(theirs)) == 1
        assert set(ours) != set(theirs)
    assert {prompt for step in first + second for prompt in step} == set("0123")


def test_what_is_logged_is_the_mean_over_both(processes: list[dict[str, Any]]) -> None:
    first, second = processes

    over_both = [mean(a + b) for a, b in zip(first["earned"], second["earned"], strict=True)]
    assert first["rewards"] == pytest.approx(over_both, abs=1e-6)
    assert first["earned"] != second["earned"]


def test_a_sharded_model_has_the_loss_and_gradients_of_a_whole_one(
    processes: list[dict[str, Any]],
) -> None:
    for process in processes:
        step = process["sharded"]
        assert step["all_sharded"]
        assert step["losses"][0] == pytest.approx(step["losses"][1], rel=1e-5)
        assert abs(step["losses"][0]) > 0.1
        assert step["largest"] > 1e-3
        assert step["difference"] < 1e-5 * step["largest"] + 1e-7
        assert step["with_gradient"] > 0.9 * step["parameters"]
    ours, theirs = (process["sharded"]["largest"] for process in processes)
    assert ours == theirs  # the gradients are those of both batches
