"""`make train-demo`: the commands it runs, in order, and what stops it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.language.templates import load_prompts
from agent.protocol.dialects import Dialect
from server.commands.options import Load
from server.demo import training
from server.demo.toy_slices import write_toy_slices
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
        if line[0] == "evaluate":
            folder = Path(line[line.index("--out") + 1])
            folder.mkdir()
            dice = 0.25 if folder.name == "evaluation-sft" else 0.75
            group = {"dice": {"mean": dice}}
            whole = {"all": group, "by_structure": {"liver": group, "nothing": {"dice": None}}}
            results = {"methods": {"transformers": whole}}
            (folder / "results.json").write_text(json.dumps(results))
        return 1 if self.fails in line and self.fails else 0


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The sentences that the toy's tokenizer was given; no model is made."""
    texts: list[list[str]] = []

    def write(folder: Path, sentences: Sequence[str], *, seed: int) -> Path:
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


def test_what_was_learnt_stands_beside_a_box_that_looks_at_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: list[list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(training, "segnode", Recorded())
    monkeypatch.setattr(training, "blind_dice", lambda _folder, _segmenter: {"liver": 0.125})

    training.run(tmp_path / "out", SMALL, None)

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["liver", "0.12", "0.25", "0.75"] in lines
    assert ["all", "0.25", "0.75"] in lines
    assert not [line for line in lines if "nothing" in line]


def test_a_data_set_takes_the_place_of_phantoms_and_is_drawn_on_by_a_real_segmenter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: list[list[str]]
) -> None:
    slices = write_toy_slices(tmp_path / "slices", patients=2, slices=1, validation=1)
    command = Recorded()
    monkeypatch.setattr(training, "segnode", command)

    training.run(tmp_path / "out", SMALL, slices)

    names = [file.name for file in sorted((tmp_path / "out" / "data" / "images").iterdir())]
    assert names == ["TOY_000_00.png", "TOY_001_00.png"]
    (line, *_) = command.lines
    config = tomllib.loads(Path(line[line.index("--config") + 1]).read_text())
    assert config["agent"]["segmenter"] == "litemedsam"


def test_the_demos_prompts_can_be_used() -> None:
    prompts = load_prompts(Dialect.TOOL_CALL, training.PROMPTS)
    assert prompts.fill("system", tools="{}") == "Outline the target."
    assert "liver" in prompts.fill("first", target="liver")
