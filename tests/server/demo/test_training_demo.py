"""`make train-demo`: the commands it runs, in order, and what stops it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from server.commands.options import Load
from server.demo import training
from server.errors import DemoFailed

SMALL = training.DemoScale(patients=2, slices=1, validation=1, image_px=64)


class Recorded:
    """Stands in for the command line: keeps what it is given; `fails` names a command that does."""

    def __init__(self, fails: str = "") -> None:
        self.lines: list[list[str]] = []
        self.fails = fails

    def __call__(self, words: Sequence[str] | None = None, load: Load | None = None) -> int:
        line = list(words or ())
        self.lines.append(line)
        if line[0] == "trajectories":
            folder = Path(line[line.index("--out") + 1])
            folder.mkdir()
            content = [{"type": "image"}, {"type": "text", "text": "The target is: liver."}]
            row = json.dumps({"messages": [{"role": "user", "content": content}]})
            (folder / "trajectories-00001-of-00001.jsonl").write_text(f"{row}\n")
        return 1 if self.fails in line and self.fails else 0


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The sentences that the toy's tokenizer was given; no model is made."""
    texts: list[list[str]] = []

    def write(folder: Path, sentences: Sequence[str]) -> Path:
        texts.append(list(sentences))
        return folder

    monkeypatch.setattr(training, "write_toy_model", write)
    return texts


def test_each_command_takes_what_the_one_before_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: list[list[str]]
) -> None:
    command = Recorded()
    monkeypatch.setattr(training, "segnode", command)

    training.run(tmp_path / "out", SMALL, None)

    out = tmp_path / "out"
    names = [" ".join(line[:2]) if line[0] == "train" else line[0] for line in command.lines]
    assert names == ["trajectories", "train sft", "train grpo", "evaluate", "evaluate"]
    assert written == [["The target is: liver."]]
    sft, grpo, first, second = command.lines[1:]
    assert sft[2] == str(out / "trajectories")
    assert grpo[grpo.index("--base") + 1] == str(out / "sft" / "model")
    assert "--against" not in first
    assert second[second.index("--against") + 1] == str(out / "evaluation-sft")
    models = [
        tomllib.loads(Path(line[line.index("--config") + 1]).read_text())["language"]["model"]
        for line in (first, second)
    ]
    assert models == [str(out / "sft" / "model"), str(out / "grpo" / "model")]


def test_a_command_that_fails_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: list[list[str]]
) -> None:
    command = Recorded(fails="grpo")
    monkeypatch.setattr(training, "segnode", command)

    with pytest.raises(DemoFailed, match="segnode train did not go well"):
        training.run(tmp_path / "out", SMALL, None)

    assert len(command.lines) == 3


def test_an_earlier_run_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(DemoFailed, match="holds an earlier run"):
        training.run(tmp_path, SMALL, None)


def test_real_slices_are_taken_where_they_are_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGNODE_SHARED_DATA", str(tmp_path))
    assert training.real_slices() is None
    (tmp_path / "btcv").mkdir()
    (tmp_path / "btcv" / "dataset.json").write_text("{}")
    assert training.real_slices() == tmp_path / "btcv"
