"""`segnode train grpo`: a planner improved by the rewards of its own episodes."""

from __future__ import annotations

import argparse
from pathlib import Path

from server.commands.console import Progress, say
from server.commands.options import Load, add_config, settings_of
from server.commands.segment import with_models
from server.commands.training_extra import (
    CORRECTIONS,
    add_base,
    add_segmenter,
    add_source,
    load_training,
)

REWARDS = ("medsam-agent", "ibis", "segnode")
PRESETS = ("medsam-agent", "ibis")

# option, metavar, type, help; the settings' names are the options' with _ for -
_NUMBERS: tuple[tuple[str, str, type[int] | type[float], str], ...] = (
    ("--group", "N", int, "episodes from each start, whose mean is what one is better than; 8"),
    ("--prompts", "N", int, "starts a step of sampling; 8"),
    ("--updates", "N", int, "steps of the optimiser a step of sampling; 1"),
    ("--per-device", "N", int, "rows in one pass on a device; 1"),
    ("--steps", "N", int, "steps of the optimiser; 1000"),
    ("--turns", "N", int, "turns of an episode at most; 5"),
    ("--learning-rate", "X", float, "constant behind the warm-up; 1e-6"),
    ("--warmup", "N", int, "steps over which the rate rises from 0; 0"),
    ("--clip", "X", float, "how far a ratio may be from 1; 0.2"),
    ("--clip-high", "X", float, "the same upwards; that of --clip"),
    ("--kl", "X", float, "weight of the divergence from the base; 0"),
    ("--temperature", "X", float, "of sampling; 1"),
    ("--reply-tokens", "N", int, "of one reply at most; 512"),
    ("--completion-tokens", "N", int, "of all that follows a prompt; reckoned if not said"),
    ("--image-px", "N", int, "side of the picture that the model is shown; 512"),
    ("--lora", "R", int, "train adapters of rank R, not all weights"),
    ("--save-every", "N", int, "steps between checkpoints; 200"),
    ("--sampler-memory", "X", float, "share of each GPU for a vLLM beside the model; 0.3"),
    ("--sampler-gpus", "N", int, "GPUs that a vLLM beside the model lies on together; 1"),
    ("--seed", "N", int, "of sampling and of the order of starts; 0"),
)
_CHOICES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("--reward", REWARDS, "what an episode earns; segnode if not said"),
    ("--dialect", ("tool_call", "think_action"), "how actions are written; tool_call"),
    ("--loss", ("grpo", "dapo", "dr_grpo", "bnpo"), "how tokens are averaged; grpo"),
    ("--scale-rewards", ("group", "batch", "none"), "whose deviation rewards are divided by"),
    ("--sampler", ("generate", "vllm-colocated", "vllm-server"), "what samples; generate"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data, the model to begin with, what draws, where the run is kept, how it is trained."""
    add_config(parser, _run)
    parser.add_argument("data", metavar="DATA", type=Path, help="images with truths of any layout")
    add_source(parser, "truths")
    add_base(parser)
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="where the run is kept"
    )
    add_segmenter(parser)
    parser.add_argument(
        "--segmenter-url",
        metavar="URL",
        default="",
        help="a `segnode sessions` that draws instead, such as http://host:8265",
    )
    parser.add_argument(
        "--segmenter-token", metavar="FILE", type=Path, help="holds the token that it wants"
    )
    parser.add_argument("--split", metavar="NAME", default="train", help="cases of it; train")
    parser.add_argument(
        "--slices", metavar="N", type=int, default=1, help="of a structure in a volume; 1"
    )
    parser.add_argument(
        "--preset", choices=PRESETS, help="a paper's settings; what else is said changes them"
    )
    for option, metavar, kind, sentence in _NUMBERS:
        parser.add_argument(option, metavar=metavar, type=kind, help=sentence)
    for option, choices, sentence in _CHOICES:
        parser.add_argument(option, choices=choices, help=sentence)
    parser.add_argument("--sampler-url", metavar="URL", help="of the vLLM server")
    parser.add_argument(
        "--prompts-folder",
        metavar="DIR",
        type=Path,
        help="the site's own prompts, instead of language.prompts",
    )
    parser.add_argument(
        "--dynamic-sampling",
        action="store_true",
        default=None,
        help="leave out groups of equal reward",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in --out from its last checkpoint"
    )


def _run(arguments: argparse.Namespace, load: Load) -> int:
    site = with_models(settings_of(arguments), None, arguments.segmenter)
    grpo = load_training(load, "training.grpo")
    options = [*(option for option, *_ in _NUMBERS), *(option for option, *_ in _CHOICES)]
    names = [option.removeprefix("--").replace("-", "_") for option in options]
    changes = {name: getattr(arguments, name) for name in names}
    changes["lora_rank"] = changes.pop("lora")
    for name in ("sampler_url", "dynamic_sampling"):
        changes[name] = getattr(arguments, name)
    changes["overlay"] = site.language.overlay
    changes["repeat_pictures"] = site.language.repeat_pictures
    changes["prompts_folder"] = arguments.prompts_folder or site.language.prompts
    training = grpo.settings_of(arguments.preset, changes)
    of = grpo.GrpoRun(
        arguments.data,
        arguments.split,
        grpo.base_folder(site, arguments.base),
        arguments.out,
        arguments.slices,
        arguments.resume,
        arguments.source == CORRECTIONS,
        arguments.segmenter_url,
        arguments.segmenter_token,
    )
    progress = Progress("train")
    result = grpo.run(site, training, of, progress.show)
    progress.end()
    say(
        f"{result.steps} steps, mean reward {result.reward_first:.3f} at first, "
        f"{result.reward_last:.3f} at last"
    )
    say(f"the model is in {result.model}")
    return 0
