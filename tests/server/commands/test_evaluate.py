"""`segnode evaluate` on a small data set, with the models that need no weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from models.evaluation.records import read_records
from server.cli import main
from server.commands.segment import with_models
from server.compose.training.evaluate import EvaluationRequest, run
from server.settings import load_settings
from tests.support.dataset_folders import index_png_folder

pytest.importorskip("matplotlib")

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGNODE_STORAGE__DIR", str(tmp_path / "var"))
    monkeypatch.setenv("PYTHONSAFEPATH", "")  # every command sets it, for itself and its children


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return index_png_folder(tmp_path / "data")


def evaluate(data: Path, out: Path, *more: str) -> int:
    words = ["evaluate", str(data), "--policy", "threshold", "--segmenter", "fake"]
    return main([*words, "--out", str(out), *more])


def test_a_run_leaves_lines_results_and_report(data: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert evaluate(data, out, "--split", "training", "--baselines", "oracle-box") == 0

    printed = capsys.readouterr().out
    assert "models: threshold + fake" in printed
    assert any(line.split()[:2] == ["threshold", "8"] for line in printed.splitlines())
    assert printed.splitlines()[-1] == f"the report is {out / 'report.html'}"
    results = json.loads((out / "results.json").read_text())
    assert results["counts"]["patients"] == 2
    assert set(results["methods"]) == {"threshold", "oracle-box"}
    assert results["run"]["split"] == "training"
    assert (out / "report.html").stat().st_size > 10_000


def test_a_run_goes_on_only_when_told(data: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    evaluate(data, out, "--baselines", "none")
    lines = read_records(out)
    assert evaluate(data, out, "--baselines", "none") == 1
    assert "--resume" in capsys.readouterr().err
    assert evaluate(data, out, "--baselines", "none", "--resume") == 0
    assert read_records(out) == lines
    assert evaluate(data, out, "--baselines", "oracle-box", "--resume") == 1
    assert "its baselines is" in capsys.readouterr().err


def test_a_run_that_goes_on_says_how_much_it_tries_again(
    data: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    evaluate(data, out, "--baselines", "none")
    results = json.loads((out / "results.json").read_text())
    (file,) = out.glob("targets-*.jsonl")
    first, *rest = file.read_text().splitlines()
    failed = {**json.loads(first), "status": "failed", "reason": "the server is down"}
    file.write_text("\n".join([json.dumps(failed), *rest]) + "\n")
    capsys.readouterr()

    assert evaluate(data, out, "--baselines", "none", "--resume") == 0

    assert "answers that failed before and are tried again: 1" in capsys.readouterr().out
    again = json.loads((out / "results.json").read_text())
    assert again["failures"] == []
    assert (
        again["methods"]["threshold"]["all"]["dice"]
        == results["methods"]["threshold"]["all"]["dice"]
    )


def test_the_last_part_writes_the_report(data: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert evaluate(data, out, "--baselines", "none", "--shards", "2/2") == 0
    assert "the report comes with the last one: 1 of 2" in capsys.readouterr().out
    assert not (out / "report.html").exists()
    assert evaluate(data, out, "--baselines", "none", "--shards", "1/2") == 0
    assert json.loads((out / "results.json").read_text())["counts"]["cases"] == 6


def test_two_runs_are_compared_on_the_same_data_only(
    data: Path, tmp_path: Path, capsys: Capture
) -> None:
    evaluate(data, tmp_path / "a", "--split", "validation", "--baselines", "none")
    evaluate(data, tmp_path / "b", "--split", "training", "--baselines", "none")
    for other, code in (("a", 0), ("b", 1)):
        out, against = tmp_path / f"ours-{other}", str(tmp_path / other)
        words = ("--split", "validation", "--baselines", "none", "--against", against)
        assert evaluate(data, out, *words) == code
        assert (out / "report.html").exists()
    assert "is a run on other data" in capsys.readouterr().err


def test_a_folder_without_a_run_is_told_at_once(
    data: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert evaluate(data, tmp_path / "out", "--against", str(tmp_path / "nowhere")) == 1
    assert "holds no evaluation" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--split", "test"), "no case in the split test"),
        (("--split", "Tuesday"), "Tuesday"),
        (("--baselines", "magic"), "there is no baseline 'magic'"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(
    data: Path, tmp_path: Path, capsys: Capture, words: tuple[str, ...], sentence: str
) -> None:
    assert evaluate(data, tmp_path / "out", *words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line


def test_cases_that_cannot_be_read_are_no_report(
    data: Path, tmp_path: Path, capsys: Capture
) -> None:
    for file in (data / "label").iterdir():
        file.write_bytes(b"no picture")
    assert evaluate(data, tmp_path / "out", "--split", "validation", "--baselines", "none") == 1
    error = capsys.readouterr().err
    assert "no case that can be used in validation: 2 were left out" in error


@pytest.mark.parametrize("part", ["3/2", "0/2", "two", "1"])
def test_a_part_that_is_none_is_bad_usage(data: Path, tmp_path: Path, part: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        evaluate(data, tmp_path / "out", "--shards", part)


def test_without_matplotlib_nothing_begins(
    data: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert evaluate(data, tmp_path / "out") == 1
    assert "pip install 'segnode[train]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_baselines_that_mean_nothing_here_are_told(data: Path, tmp_path: Path) -> None:
    settings = with_models(load_settings([]), "threshold", "fake")
    told: list[str] = []
    request = EvaluationRequest(data, "validation", tmp_path / "out", "oracle-clicks,last-mask")
    results = run(settings, request, told.append, lambda _: None)
    assert results is not None
    assert list(results["methods"]) == ["threshold", "last-mask", "oracle-clicks"]
    assert told == ["models: threshold + fake"]


def test_a_baseline_that_cannot_run_is_refused_before_anything_is_written(
    data: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = ["--policy", "locator", "--segmenter", "litemedsam", "--out", str(tmp_path / "out")]
    assert main(["evaluate", str(data), *words, "--baselines", "oracle-clicks,interactive"]) == 1
    (line,) = (one for one in capsys.readouterr().err.splitlines() if "baselines" in one)
    assert "oracle-clicks: litemedsam takes no clicks" in line
    assert "Possible are: last-mask, single-turn, oracle-box" in line
    assert not (tmp_path / "out").exists()
