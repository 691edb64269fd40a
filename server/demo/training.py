"""`make train-demo`: the papers' whole way on two cores, from slices with a truth to a report.

    python -m server.demo.training [OUT]      OUT: the folder for everything (train-out)

It runs the commands that a researcher would type, each printed first: trajectories of a simulated
reader, supervised fine-tuning of a toy model, GRPO from there, and an evaluation beside baselines.
The model is small and knows nothing before: it shows that all parts learn together, not how well a
real one draws.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.training.toy_model import write_toy_model
from server.cli import main as segnode
from server.commands.console import say
from server.demo.toy_slices import copy_slices, write_toy_slices
from server.errors import DemoFailed, ServerError

STRUCTURES = ("liver", "spleen", "kidney_left", "kidney_right", "aorta")
BASELINES = "oracle-box,single-turn,locator"

CONFIGURATION = """
[storage]
dir = "{storage}"

[models]
device = "cpu"

[agent]
max_turns = {turns}

[language]
model = "{model}"
image_px = {image_px}
max_new_tokens = {reply_tokens}
"""


@dataclass(frozen=True)
class DemoScale:
    """How much is done: phantoms (`patients` of `slices`, `validation` of them held back), pictures
    of `image_px`, `per_case` trajectories a structure, and the steps and sizes of both trainings.
    """

    patients: int = 24
    slices: int = 4
    validation: int = 6
    image_px: int = 128
    turns: int = 3
    reply_tokens: int = 64
    per_case: int = 1
    sft_steps: int = 200
    sft_batch: int = 8
    sft_rate: float = 2e-3
    grpo_steps: int = 20
    grpo_prompts: int = 4
    grpo_group: int = 4
    grpo_rate: float = 1e-4


def main(arguments: Sequence[str]) -> int:
    """Run the demo into the folder named first, or train-out, which must not be there or empty; 0
    when the report is there.
    """
    out = Path(arguments[0] if arguments else "train-out").resolve()
    try:
        run(out, DemoScale(), real_slices())
    except ServerError as error:
        say(f"train-demo failed: {error}", error=True)
        return 1
    return 0


def real_slices() -> Path | None:
    """The BTCV slices beside the project, or where SEGNODE_SHARED_DATA says; None without them."""
    root = Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("SEGNODE_SHARED_DATA", root)) / "btcv"
    return folder if (folder / "dataset.json").is_file() else None


def run(out: Path, scale: DemoScale, slices: Path | None) -> None:
    """Do all of it in `out`, on the slices of a data set or, with None, on phantoms. DemoFailed
    where a command fails, or where `out` holds something.
    """
    if out.is_dir() and any(out.iterdir()):
        raise DemoFailed(f"{out} holds an earlier run: remove it, or name another folder")
    out.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    data, trajectories = out / "data", out / "trajectories"
    if slices is None:
        say("data     phantoms: no real slices are at hand")
        write_toy_slices(data, scale.patients, scale.slices, scale.validation)
    else:
        say(f"data     {slices}")
        copy_slices(slices, data, STRUCTURES)
    toy, sft, grpo = out / "toy", out / "sft", out / "grpo"
    config = _configuration(out, scale, toy)
    _segnode("trajectories", data, "--out", trajectories, "--per-case", scale.per_case, *config)
    write_toy_model(toy, dict.fromkeys(sentences(trajectories)))
    _segnode(
        *("train", "sft", trajectories, "--base", toy, "--out", sft),
        *("--steps", scale.sft_steps, "--batch", scale.sft_batch, "--accumulate", 1),
        *("--learning-rate", scale.sft_rate, "--save-every", max(scale.sft_steps // 4, 1)),
        *("--held-out", 0.1, *config),
    )
    _segnode(
        *("train", "grpo", data, "--base", sft / "model", "--out", grpo),
        *("--steps", scale.grpo_steps, "--prompts", scale.grpo_prompts),
        *("--group", scale.grpo_group, "--learning-rate", scale.grpo_rate),
        *("--turns", scale.turns, "--reply-tokens", scale.reply_tokens),
        *("--image-px", scale.image_px, *config),
    )
    for name, model in (("sft", sft / "model"), ("grpo", grpo / "model")):
        against = ("--against", out / "evaluation-sft") if name == "grpo" else ()
        _segnode(
            *("evaluate", data, "--split", "validation", "--policy", "transformers"),
            *("--out", out / f"evaluation-{name}", "--baselines", BASELINES, *against),
            *_configuration(out, scale, model),
        )
    say(f"\neverything took {time.monotonic() - began_s:.0f} s")
    say(f"curves   {sft / 'curves.png'}, {grpo / 'curves.png'}")
    say(f"report   {out / 'evaluation-grpo' / 'report.html'}")


def sentences(trajectories: Path) -> Iterator[str]:
    """Every text that the trajectories in a folder say: what a tokenizer learns from."""
    for file in sorted(trajectories.glob("trajectories-*.jsonl")):
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                for message in json.loads(line)["messages"]:
                    yield from (p["text"] for p in message["content"] if p["type"] == "text")


def _configuration(out: Path, scale: DemoScale, model: Path) -> tuple[str, Path]:
    """`--config` and a file that names `model` as the planner."""
    file = out / f"{model.parent.name if model.name == 'model' else model.name}.toml"
    file.write_text(
        CONFIGURATION.format(
            storage=out / "var",
            turns=scale.turns,
            model=model,
            image_px=scale.image_px,
            reply_tokens=scale.reply_tokens,
        ),
        encoding="utf-8",
    )
    return "--config", file


def _segnode(*words: object) -> None:
    """Print a command line and run it in this process; DemoFailed unless it went well."""
    line = [str(word) for word in words]
    say(f"\n$ segnode {shlex.join(line)}")
    if segnode(line) != 0:
        raise DemoFailed(f"segnode {words[0]} did not go well, see above")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
