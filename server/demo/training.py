"""`make train-demo`: the papers' whole way on two cores, from slices with a truth to a report.

    python -m server.demo.training [OUT [DATA]]

OUT is the folder for everything (train-out); DATA a data set of 2-D slices with training and
validation patients, such as BTCV's, in the place of phantoms. It runs the commands that a
researcher would type, each printed first: trajectories of a simulated reader, supervised
fine-tuning of a toy model, GRPO from there, and an evaluation beside baselines. The model is small
and knows nothing before: it shows that all parts learn together, not how well a real one draws.

The phantoms lie anywhere in the picture, so that where an organ is can only be learnt by looking;
what draws there is the segmenter `fake`, which costs no time, and the model's prompts are a few
words (toy_prompts/).
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.fakes import FakeSegmenter
from models.training.toy_model import write_toy_model
from server.cli import main as segnode
from server.commands.console import say, table
from server.demo.blind_box import blind_dice
from server.demo.toy_slices import copy_slices, write_toy_slices
from server.errors import DemoFailed, ServerError

STRUCTURES = ("liver", "spleen", "kidney_left", "kidney_right", "aorta")
BASELINES = "oracle-box"
PROMPTS = Path(__file__).with_name("toy_prompts")

CONFIGURATION = """
[storage]
dir = "{storage}"

[models]
device = "cpu"

[agent]
segmenter = "{segmenter}"
max_turns = {turns}

[language]
model = "{model}"
prompts = "{prompts}"
image_px = {image_px}
max_new_tokens = {reply_tokens}
"""


@dataclass(frozen=True)
class DemoScale:
    """How much is done: phantoms (`patients` of `slices`, `validation` of them held back), pictures
    of `image_px`, `per_case` trajectories a structure, and the steps and sizes of both trainings.
    """

    patients: int = 220
    slices: int = 3
    validation: int = 20
    image_px: int = 64
    turns: int = 2
    reply_tokens: int = 32
    per_case: int = 1
    sft_steps: int = 400
    sft_batch: int = 32
    sft_rate: float = 2e-3
    grpo_steps: int = 60
    grpo_prompts: int = 8
    grpo_group: int = 16
    grpo_rows: int = 32
    grpo_rate: float = 6e-5
    grpo_warmup: int = 10
    grpo_kl: float = 0.02
    seed: int = 0


def main(arguments: Sequence[str]) -> int:
    """Run the demo into the folder named first, or train-out, which must not be there or empty; 0
    when the report is there.
    """
    out = Path(arguments[0] if arguments else "train-out").resolve()
    try:
        run(out, DemoScale(), Path(arguments[1]).resolve() if len(arguments) > 1 else None)
    except ServerError as error:
        say(f"train-demo failed: {error}", error=True)
        return 1
    return 0


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
        say("data     phantoms")
        write_toy_slices(data, scale.patients, scale.slices, scale.validation)
    else:
        say(f"data     {slices}")
        copy_slices(slices, data, STRUCTURES)
    toy, sft, grpo = out / "toy", out / "sft", out / "grpo"
    segmenter = FakeSegmenter.name if slices is None else "litemedsam"
    config = _configuration(out, scale, toy, segmenter)
    _segnode("trajectories", data, "--out", trajectories, "--per-case", scale.per_case, *config)
    write_toy_model(toy, dict.fromkeys(sentences(trajectories)), seed=scale.seed)
    _train(data, trajectories, out, scale, config)
    for name, model in (("sft", sft / "model"), ("grpo", grpo / "model")):
        against = ("--against", out / "evaluation-sft") if name == "grpo" else ()
        _segnode(
            *("evaluate", data, "--split", "validation", "--policy", "transformers"),
            *("--out", out / f"evaluation-{name}", "--baselines", BASELINES, *against),
            *_configuration(out, scale, model, segmenter),
        )
    _tell_dice(out, blind_dice(data, FakeSegmenter()) if slices is None else {})
    say(f"\neverything took {time.monotonic() - began_s:.0f} s")
    say(f"curves   {sft / 'curves.png'}, {grpo / 'curves.png'}")
    say(f"report   {out / 'evaluation-grpo' / 'report.html'}")


def _train(
    data: Path, trajectories: Path, out: Path, scale: DemoScale, config: tuple[str, Path]
) -> None:
    """Both trainings of the toy in `out`, one after the other."""
    sft = out / "sft"
    _segnode(
        *("train", "sft", trajectories, "--base", out / "toy", "--out", sft),
        *("--steps", scale.sft_steps, "--batch", scale.sft_batch, "--accumulate", 1),
        *("--learning-rate", scale.sft_rate, "--save-every", max(scale.sft_steps // 4, 1)),
        *("--held-out", 0.1, "--seed", scale.seed, *config),
    )
    _segnode(
        *("train", "grpo", data, "--base", sft / "model", "--out", out / "grpo"),
        *("--steps", scale.grpo_steps, "--prompts", scale.grpo_prompts),
        *("--group", scale.grpo_group, "--per-device", scale.grpo_rows),
        # unequal groups weigh more than those whose episodes hardly differ
        *("--loss", "dr_grpo", "--scale-rewards", "none"),
        *("--learning-rate", scale.grpo_rate, "--warmup", scale.grpo_warmup),
        *("--kl", scale.grpo_kl, "--seed", scale.seed),
        *("--turns", scale.turns, "--reply-tokens", scale.reply_tokens),
        *("--image-px", scale.image_px, *config),
    )


def _tell_dice(out: Path, blind: Mapping[str, float]) -> None:
    """Print the Dice of held-out patients by structure: after SFT, after GRPO, and of the box that
    is the same for all slices (`blind`).
    """
    after = [_dice_in(out / f"evaluation-{name}" / "results.json") for name in ("sft", "grpo")]
    names = list(dict.fromkeys([*after[0], *after[1]]))
    rows = [
        (name, *(f"{d[name]:.2f}" if name in d else "" for d in (blind, *after))) for name in names
    ]
    say("\nDice of held-out patients")
    table(("structure", "one box for all", "after SFT", "after GRPO"), rows)


def _dice_in(results: Path) -> dict[str, float]:
    """The policy's mean Dice by structure in an evaluation's results; those that have one."""
    policy = json.loads(results.read_text(encoding="utf-8"))["methods"]["transformers"]
    groups = {"all": policy["all"]} | policy["by_structure"]
    return {name: group["dice"]["mean"] for name, group in groups.items() if group["dice"]}


def sentences(trajectories: Path) -> Iterator[str]:
    """Every text that the trajectories in a folder say: what a tokenizer learns from."""
    for file in sorted(trajectories.glob("trajectories-*.jsonl")):
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                for message in json.loads(line)["messages"]:
                    yield from (p["text"] for p in message["content"] if p["type"] == "text")


def _configuration(out: Path, scale: DemoScale, model: Path, segmenter: str) -> tuple[str, Path]:
    """`--config` and a file that names `model` as the planner."""
    file = out / f"{model.parent.name if model.name == 'model' else model.name}.toml"
    file.write_text(
        CONFIGURATION.format(
            storage=out / "var",
            segmenter=segmenter,
            prompts=PROMPTS,
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
