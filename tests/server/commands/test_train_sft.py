"""`segnode train sft`: what is said on the command line reaches the run, and what came of it is
told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from server.cli import main
from server.commands.train_sft import add_arguments
from server.commands.training_extra import EXTRA

WORDS = ["train", "sft", "data", "--base", "base", "--out", "run"]


@dataclass
class Training:
    """Stands for what composes a run: remembers it, and gives a result or raises."""

    loss: float | None = 2.5
    left_out: int = 0
    missing: str = ""
    runs: list[tuple[Any, ...]] = field(default_factory=list)
    corrections: list[tuple[Any, ...]] = field(default_factory=list)

    def __call__(self, process: str) -> Any:
        assert process == "training.sft"
        if self.missing:
            raise ModuleNotFoundError(f"No module named {self.missing!r}", name=self.missing)
        return SimpleNamespace(
            SftSettings=dict,
            Corrections=lambda *of: of,
            base_folder=lambda site, base: base or Path(site.language.model),
            made_of=self._make,
            train_sft=self._train,
        )

    def _make(self, site: Any, of: tuple[Any, ...], tell: Any) -> Path:
        self.corrections.append((site.agent.segmenter, *of))
        return Path("made")

    def _train(self, data: Path, base: Path, out: Path, settings: Any, **others: Any) -> Any:
        self.runs.append((data, base, out, settings, others["resume"]))
        others["progress"]("step 1 of 2, loss 3.000")
        return SimpleNamespace(
            model=out / "model",
            steps=2,
            learnt=9,
            left_out=self.left_out,
            loss_before=self.loss and 7.25,
            loss_after=self.loss,
        )


def test_only_what_is_said_is_set(capsys: pytest.CaptureFixture[str]) -> None:
    training = Training()

    assert main(WORDS, training) == 0

    device = {"device": "auto"}
    assert training.runs == [(Path("data"), Path("base"), Path("run"), device, False)]
    told = capsys.readouterr().out
    assert "2 steps on 9 trajectories" in told
    assert "held-out loss 7.250 before, 2.500 after" in told
    assert "the model is in run/model" in told
    assert "left out" not in told


def test_all_that_is_said_reaches_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGNODE_MODELS__DEVICE", "cpu")
    training = Training()
    said = "--lora 8 --steps 40 --batch 2 --accumulate 4 --learning-rate 1e-4 --held-out 0.2"

    assert (
        main([*WORDS, *said.split(), "--seed", "7", "--save-every", "5", "--resume"], training) == 0
    )

    (run,) = training.runs
    assert run[3] == {
        "device": "cpu",
        "lora": 8,
        "steps": 40,
        "batch": 2,
        "accumulate": 4,
        "learning_rate": 1e-4,
        "held_out": 0.2,
        "seed": 7,
        "save_every": 5,
    }
    assert run[4] is True


def test_corrections_are_made_into_trajectories_and_the_model_that_serves_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEGNODE_LANGUAGE__MODEL", "serving")
    training = Training()
    words = ["train", "sft", "data", "--from", "corrections", "--out", "run", "--segmenter", "fake"]

    assert main(words, training) == 0

    assert training.corrections == [("fake", Path("data"), "training", Path("run"), False)]
    assert training.runs[0][:3] == (Path("made"), Path("serving"), Path("run"))


def test_what_was_left_out_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(WORDS, Training(left_out=3, loss=None)) == 0

    told = capsys.readouterr().out
    assert "3 trajectories were left out, see run/left-out.txt" in told
    assert "held-out loss" not in told


def test_a_missing_extra_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(WORDS, Training(missing="trl")) == 1

    assert "trl is needed to train, and is not installed: pip install 'segnode[train]'" in (
        capsys.readouterr().err
    )


def test_a_module_of_ours_that_is_missing_is_a_fault_of_ours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(WORDS, Training(missing="models.training.sft")) == 1

    assert "models" not in EXTRA
    assert "a fault of Segnode itself" in capsys.readouterr().err


def test_epochs_and_steps_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*WORDS, "--epochs", "3", "--steps", "9"], Training())

    assert "not allowed with" in capsys.readouterr().err
    assert add_arguments.__doc__
