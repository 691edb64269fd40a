"""A GRPO run that is killed goes on as if nothing had happened: weights, order, chance, figures."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from models.errors import TrainingRefused
from models.training.grpo_settings import GrpoSettings

SQUARES = 3  # of which one is taken a step: three passes over them in the steps of a run
STEPS, KILLED_AFTER = 7, 5


@pytest.fixture(scope="module")
def training() -> ModuleType:
    from tests.support.training import killed_grpo

    return killed_grpo


@pytest.fixture(scope="module")
def settings(toy: ModuleType, quick: GrpoSettings) -> GrpoSettings:
    """A checkpoint every second step; groups of equal reward are left out."""
    return replace(
        quick,
        steps=STEPS,
        prompts=1,
        group=4,
        per_device=4,
        reply_tokens=toy.REPLY_TOKENS,
        save_every=2,
        dynamic_sampling=True,
    )


@pytest.fixture(scope="module")
def unbroken(
    training: ModuleType,
    taught: Path,
    settings: GrpoSettings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder of a run that nothing happened to."""
    out = tmp_path_factory.mktemp("unbroken") / "run"
    training.train_on_squares(taught, out, SQUARES, settings)
    return out


@pytest.fixture(scope="module")
def resumed(
    training: ModuleType,
    taught: Path,
    settings: GrpoSettings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder of a run that was killed in its second pass, and gone on with."""
    out = tmp_path_factory.mktemp("killed") / "run"
    words = [taught, out, SQUARES, KILLED_AFTER, json.dumps(settings.record)]
    command = [sys.executable, "-m", "tests.support.training.killed_grpo", *map(str, words)]
    killed = subprocess.run(command, capture_output=True, env={"OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (out / "model").exists()
    assert checkpoints(out) == ["checkpoint-2", "checkpoint-4"]

    told: list[str] = []
    training.train_on_squares(taught, out, SQUARES, settings, resume=True, progress=told.append)
    assert [text.split(",")[0] for text in told[1:]] == [f"step {n} of 7" for n in (5, 6, 7)]
    return out


def checkpoints(out: Path) -> list[str]:
    return sorted(folder.name for folder in (out / "checkpoints").iterdir())


def weights(out: Path) -> bytes:
    return (out / "model" / "model.safetensors").read_bytes()


def history(out: Path) -> list[dict[str, Any]]:
    """What was logged of each step, but how long it took."""
    state = json.loads((out / "checkpoints" / f"checkpoint-{STEPS}/trainer_state.json").read_text())
    return [
        {name: value for name, value in entry.items() if "time" not in name}
        for entry in state["log_history"]
    ]


def test_the_weights_are_those_of_an_unbroken_run_bit_for_bit(
    unbroken: Path, resumed: Path, taught: Path
) -> None:
    assert weights(resumed) == weights(unbroken)
    assert weights(unbroken) != (taught / "model.safetensors").read_bytes()


def test_every_step_was_the_same_and_is_there_once(unbroken: Path, resumed: Path) -> None:
    """Rewards, turns, lengths and groups left out depend on the order of starts and on chance."""
    assert history(resumed) == history(unbroken)
    assert [entry["step"] for entry in history(resumed) if "reward" in entry] == [*range(1, 8)]
    left_out = [entry["groups_left_out"] for entry in history(unbroken)]
    assert {0.0, 1.0} == set(left_out)  # both kinds of groups came


def test_figures_of_steps_that_were_made_twice_are_there_once(resumed: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert len(list((resumed / "tensorboard").iterdir())) == 2
    events = EventAccumulator(str(resumed / "tensorboard")).Reload()
    assert [point.step for point in events.Scalars("train/reward")] == [*range(1, 8)]


def test_the_record_is_that_of_an_unbroken_run(unbroken: Path, resumed: Path) -> None:
    ours, expected = (
        json.loads((out / "model" / "training.json").read_text()) for out in (resumed, unbroken)
    )
    assert ours == expected
    assert ours["settings"]["per_device"] == 4


def test_a_run_whose_model_could_not_be_written_needs_no_further_step(
    training: ModuleType, unbroken: Path, taught: Path, settings: GrpoSettings
) -> None:
    """Steps end in the middle of a pass; the last checkpoint is of the last step."""
    before = weights(unbroken)
    (unbroken / "model").rename(unbroken / "away")
    told: list[str] = []

    result = training.train_on_squares(
        taught, unbroken, SQUARES, settings, resume=True, progress=told.append
    )

    assert result.steps == STEPS
    assert weights(unbroken) == before
    assert [text for text in told if text.startswith("step")] == []


def test_fewer_rows_in_a_pass_do_not_make_it_another_run(
    training: ModuleType, resumed: Path, taught: Path, settings: GrpoSettings
) -> None:
    """What the sentence about memory says to lower can be lowered."""
    result = training.train_on_squares(
        taught, resumed, SQUARES, replace(settings, per_device=1), resume=True
    )

    assert result.steps == STEPS
    with pytest.raises(TrainingRefused, match="begun with another settings: group 4, now 2"):
        training.train_on_squares(
            taught, resumed, SQUARES, replace(settings, group=2, per_device=1), resume=True
        )
