"""`segnode train sft`: supervised fine-tuning on trajectories."""

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data, the model to begin with, where the run is kept, and how it is trained."""
    add_config(parser, _run)
    parser.add_argument(
        "data",
        metavar="DATA",
        type=Path,
        help="a folder of `segnode trajectories`; with --from corrections what readers corrected",
    )
    add_source(parser, "trajectories")
    parser.add_argument(
        "--split", metavar="NAME", default="training", help="of corrections; training"
    )
    add_segmenter(parser)
    add_base(parser)
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="where the run is kept"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --out from its last whole checkpoint",
    )
    _add_settings(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    def add(name: str, metavar: str, kind: type[int] | type[float], sentence: str) -> None:
        parser.add_argument(name, metavar=metavar, type=kind, help=sentence)

    add("--lora", "R", int, "train adapters of rank R on the language layers, not all weights")
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--epochs",
        metavar="N",
        type=float,
        help="how often the data is gone through; 3 if not said",
    )
    length.add_argument("--steps", metavar="N", type=int, help="how many steps, in place of epochs")
    add("--batch", "N", int, "conversations at once on a device; 1 if not said")
    add("--accumulate", "N", int, "batches a step; 16 if not said")
    add("--learning-rate", "X", float, "the highest, after warm-up; 1e-5 if not said")
    add("--held-out", "SHARE", float, "share of patients that is not learnt; 0.05 if not said")
    add("--seed", "N", int, "of the order of the data and of new weights; 0 if not said")
    add("--save-every", "N", int, "steps between checkpoints; 100 if not said")


_SETTINGS = (
    "lora",
    "epochs",
    "steps",
    "batch",
    "accumulate",
    "learning_rate",
    "held_out",
    "seed",
    "save_every",
)


def _run(arguments: argparse.Namespace, load: Load) -> int:
    site = with_models(settings_of(arguments), None, arguments.segmenter)
    sft = load_training(load, "training.sft")
    given = {name: getattr(arguments, name) for name in _SETTINGS}
    settings = sft.SftSettings(
        device=site.models.device,
        **{name: value for name, value in given.items() if value is not None},
    )
    base, data = sft.base_folder(site, arguments.base), arguments.data
    if arguments.source == CORRECTIONS:
        progress = Progress("corrections")
        of = sft.Corrections(data, arguments.split, arguments.out, arguments.resume)
        data = sft.made_of(site, of, progress.show)
        progress.end()
    progress = Progress("train")
    result = sft.train_sft(
        data,
        base,
        arguments.out,
        settings,
        resume=arguments.resume,
        progress=progress.show,
    )
    progress.end()
    if result.left_out:
        say(f"{result.left_out} trajectories were left out, see {arguments.out / 'left-out.txt'}")
    say(f"{result.steps} steps on {result.learnt} trajectories")
    if result.loss_before is not None and result.loss_after is not None:
        say(f"held-out loss {result.loss_before:.3f} before, {result.loss_after:.3f} after")
    say(f"the model is in {result.model}")
    return 0
