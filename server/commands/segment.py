"""`segnode segment`: the same work on local files, without a node."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from dicom_node.errors import DicomNodeError
from models.errors import UnreadableFile
from models.pair import AUTO
from server.commands.console import Progress, say, table
from server.commands.options import Load, add_config, add_models, add_targets, settings_of
from server.errors import ConfigurationError, InputError
from server.settings import Settings
from server.values import TargetSummary, whole_ml

HEADER = ("structure", "status", "ml", "turns")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `segment` takes."""
    add_config(parser, _segment)
    parser.add_argument(
        "paths",
        metavar="PATH",
        type=Path,
        nargs="+",
        help="what to segment in; of several, each gets a folder of its name in DIR",
    )
    add_targets(parser)
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="where results, preview and trace go"
    )
    parser.add_argument(
        "--modality",
        metavar="NAME",
        default="",
        help="of a volume or picture that is no DICOM: CT, MR, …; as its content lets guess",
    )
    parser.add_argument(
        "--window",
        metavar="LOW,HIGH",
        default="",
        help="what is shown, from black to white, instead of the structure's own window: "
        "--window=-160,240, level/width (40/400) or abdomen, lung, mediastinum, brain, bone; HU "
        "for CT, stored values for others",
    )
    add_models(parser)
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="its weights, a file or a name of `segnode models list`, instead of agent.checkpoint",
    )


def _segment(arguments: argparse.Namespace, load: Load) -> int:
    settings = with_models(
        settings_of(arguments), arguments.policy, arguments.segmenter, arguments.checkpoint
    )
    process = load("segment")
    outs = out_folders(arguments.paths, arguments.out)
    say(f"models: {process.choice(settings)}")
    models, failed = process.open_models(settings), 0
    for path, out in outs.items():
        if len(outs) > 1:
            say(f"\n{path}")
        progress = Progress("segment")
        try:
            summaries = process.run(
                models,
                path,
                arguments.targets,
                out,
                progress.show,
                modality=arguments.modality,
                window=arguments.window,
            )
        except (InputError, DicomNodeError, UnreadableFile) as error:
            if len(outs) == 1:
                raise
            say(f"segnode: {path}: {' '.join(str(error).split())}", error=True)
            failed += 1
            continue
        progress.end()
        table(HEADER, target_rows(summaries))
        say_reasons((summary.text, (summary.reason, *summary.warnings)) for summary in summaries)
        say(f"results are in {out}")
    if failed:
        say(f"segnode: {failed} of {len(outs)} could not be segmented", error=True)
    return int(failed > 0)


def out_folders(paths: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Where the results of each path go: `out` for one path, of several a folder named like each.

    InputError for two paths of one name, whose results would overwrite each other.
    """
    if len(paths) == 1:
        return {paths[0]: out}
    folders: dict[Path, Path] = {}
    for path in paths:
        name = path.resolve().name
        suffix = next((end for end in (".nii.gz", path.suffix) if end and name.endswith(end)), "")
        folder = out / (name.removesuffix(suffix) if path.is_file() else name)
        first = next((other for other, taken in folders.items() if taken == folder), None)
        if first is not None:
            raise InputError(
                f"the results of {first} and {path} would both go to {folder}: "
                "segment them in two calls, each with an --out of its own"
            )
        folders[path] = folder
    return folders


def with_models(
    settings: Settings, policy: str | None, segmenter: str | None, checkpoint: str | None = None
) -> Settings:
    """`settings` with other models where they are named; ConfigurationError for a checkpoint of
    nobody.
    """
    if segmenter not in (None, settings.agent.segmenter):
        checkpoint = checkpoint or ""  # agent.checkpoint is the other one's
    named = {"policy": policy, "segmenter": segmenter, "checkpoint": checkpoint}
    changed = {key: name for key, name in named.items() if name is not None}
    agent = settings.agent.model_copy(update=changed)
    if agent.checkpoint and agent.segmenter == AUTO:
        raise ConfigurationError("--checkpoint needs --segmenter to say whose weights it holds")
    return settings.model_copy(update={"agent": agent})


def target_rows(summaries: Sequence[TargetSummary]) -> list[tuple[str, ...]]:
    """A line for summary target: how it ended, and its figures where it has any."""
    return [
        (
            summary.text,
            summary.status or "",
            "" if summary.volume_ml is None else whole_ml(summary.volume_ml),
            str(summary.turns),
        )
        for summary in summaries
    ]


def say_reasons(sentences: Iterable[tuple[str, Iterable[str]]]) -> None:
    """A line for each sentence about a target: why it ended so, and what is in doubt; (text,
    sentences) of each target.
    """
    for text, about in sentences:
        for sentence in about:
            if sentence:
                say(f"{text}: {sentence}")
