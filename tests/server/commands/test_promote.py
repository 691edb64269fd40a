"""`segnode models promote` and `rollback`, from the evaluation's folder to the site's weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.evaluation.run_folder import Run
from models.weights.hashes import digest_of, sums_of
from server.cli import main
from server.compose.training import promotion
from tests.support.training.evaluations import RUN, evaluation


@pytest.fixture(autouse=True)
def _storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGNODE_STORAGE__DIR", str(tmp_path / "var"))


def model_of(folder: Path, weights: str) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "toy"}')
    (folder / "model.safetensors").write_text(weights)
    return folder


def run_of(model: Path) -> Run:
    return replace(RUN, weights=(digest_of(sums_of(model)), "segmenter"))


def promote(model: Path, evaluated: Path, *more: object) -> int:
    words = ("models", "promote", model, "--as", "reader", "--evaluation", evaluated, *more)
    return main([str(word) for word in words])


def in_use(tmp_path: Path) -> str:
    return (tmp_path / "var" / "weights" / "reader" / "model.safetensors").read_text()


def test_the_first_version_is_taken_the_better_one_too_and_a_rollback_takes_it_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = model_of(tmp_path / "first", "one"), model_of(tmp_path / "second", "two")
    old = evaluation(tmp_path / "old", [0.7] * 8, run_of(first))
    new = evaluation(tmp_path / "new", [0.8] * 8, run_of(second))
    assert promote(first, old) == 0
    assert in_use(tmp_path) == "one"
    assert promote(second, new, "--against", old) == 0
    assert in_use(tmp_path) == "two"
    assert "no worse than the margin" in capsys.readouterr().out
    assert main(["models", "rollback", "--as", "reader", "--reason", "it misses spleens"]) == 0
    assert in_use(tmp_path) == "one"


def test_a_worse_policy_is_told_and_the_old_one_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = model_of(tmp_path / "first", "one"), model_of(tmp_path / "second", "two")
    old = evaluation(tmp_path / "old", [0.8] * 8, run_of(first))
    new = evaluation(tmp_path / "new", [0.6] * 8, run_of(second))
    promote(first, old)
    assert promote(second, new, "--against", old) == 1
    assert in_use(tmp_path) == "one"
    error = capsys.readouterr().err
    assert "may be worse than the margin" in error
    assert "reader stays as it is" in error


def test_an_evaluation_of_other_weights_speaks_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = model_of(tmp_path / "first", "one"), model_of(tmp_path / "second", "two")
    old = evaluation(tmp_path / "old", [0.7] * 8, run_of(first))
    new = evaluation(tmp_path / "new", [0.8] * 8, run_of(second))
    assert promote(first, new) == 1
    assert "is of other weights" in capsys.readouterr().err
    promote(first, old)
    assert promote(second, new, "--against", new) == 1
    assert "is not of version" in capsys.readouterr().err
    assert in_use(tmp_path) == "one"


def test_a_version_in_use_must_be_compared_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = model_of(tmp_path / "first", "one"), model_of(tmp_path / "second", "two")
    promote(first, evaluation(tmp_path / "old", [0.7] * 8, run_of(first)))
    new = evaluation(tmp_path / "new", [0.8] * 8, run_of(second))
    assert promote(second, new) == 1
    assert "say --against DIR" in capsys.readouterr().err
    assert in_use(tmp_path) == "one"


def test_a_margin_outside_its_bounds_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = model_of(tmp_path / "first", "one")
    old = evaluation(tmp_path / "old", [0.7] * 8, run_of(first))
    assert promote(first, old, "--margin", "2") == 1
    assert "--margin is 0 to 1" in capsys.readouterr().err


def test_a_rollback_without_an_earlier_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "rollback", "--as", "reader"]) == 1
    assert "no earlier version was in use" in capsys.readouterr().err


def test_the_defaults_of_the_command_are_the_gates(tmp_path: Path) -> None:
    wanted = promotion.Promotion(tmp_path, "reader", tmp_path)
    assert wanted.margin is None
    assert wanted.against is None
