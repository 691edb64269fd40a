"""What a command's help says behind its arguments: examples, files that are read, exit codes. One
table, so that no command is without them (tests/server/test_command_help.py).
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

WENT_WELL = "0 it went well, 1 it did not (the reason is told), 2 the command line is wrong"
_NODE_ANSWERED = "0 the node answered, 1 it refused or does not answer, 2 the command line is wrong"
_IMAGES = (
    "PATH is a DICOM folder or file, NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage\n"
    "(.mha, .mhd), PNG, JPEG, TIFF or BMP."
)
_TRUTHS = (
    "DATA is a folder, or a parquet file, of images with what readers drew: BiomedParse,\n"
    "UniBiomed, MedSAM-Agent, MedSAM2 and MedScribble npz, nnU-Net, Decathlon, TotalSegmentator,\n"
    "pairs of NIfTI or NRRD, HDF5, index PNGs, DICOM with SEG or RTSTRUCT. `segnode data check\n"
    "DATA` says what it is."
)
_WIDTH = 95
_CONFIGURATION = "FILE is TOML; config/default.toml has every key with its unit and default."

_ROUTES = """\
STUDY_UID: the node at --url applies the routes that it was started with, and makes the
requests that a new arrival would get, none of them twice.
--explain: nothing is made. A study is read from storage.dir on this machine; a FILE is DICOM,
and may be a folder, too. Segnode's own results among the files count here; a node leaves them
out."""
_CHECKS = """\
Each line begins with ok, warn (it may be meant, or pass) or FAIL. A FAIL of the configuration
or of the choice of models keeps `segnode serve` from starting; one of a destination, of weights,
of the database or of the disk does not: that may change while the node runs."""


@dataclass(frozen=True)
class CommandHelp:
    """`examples` of a command line, without the program's name; what it reads or how it is meant,
    in `more` words; its `exit_codes`.
    """

    examples: tuple[str, ...]
    more: str = ""
    exit_codes: str = WENT_WELL


COMMAND_HELP: Mapping[str, CommandHelp] = {
    "serve": CommandHelp(
        ("serve --config site.toml", "serve --config site.toml --config secrets.toml"),
        _CONFIGURATION,
    ),
    "listen": CommandHelp(("listen --config site.toml", "listen"), _CONFIGURATION),
    "work": CommandHelp(("work --config site.toml", "work"), _CONFIGURATION),
    "api": CommandHelp(("api --config site.toml", "api"), _CONFIGURATION),
    "sessions": CommandHelp(("sessions --config site.toml", "sessions"), _CONFIGURATION),
    "segment": CommandHelp(
        (
            'segment ct/ --target liver --target "left kidney" --out result/',
            "segment scan.nii.gz --modality CT --window lung --target lungs --out result/",
        ),
        _IMAGES,
    ),
    "request": CommandHelp(
        (
            'request 1.2.840.1 --target "left kidney" --wait --config site.toml',
            "request 1.2.840.1 --target liver --series 1.2.840.2 --config site.toml",
        )
    ),
    "requests": CommandHelp(
        (
            "requests --state FAILED --last 5 --config site.toml",
            "requests --study 1.2.840.1 --json --config site.toml",
        ),
        exit_codes=_NODE_ANSWERED,
    ),
    "show": CommandHelp(
        ("show 6f1c2a --config site.toml", "show 6f1c2a --json"), exit_codes=_NODE_ANSWERED
    ),
    "cancel": CommandHelp(
        ("cancel 6f1c2a --config site.toml", "cancel 6f1c2a"), exit_codes=_NODE_ANSWERED
    ),
    "retry": CommandHelp(
        ("retry 6f1c2a --config site.toml", "retry 6f1c2a"), exit_codes=_NODE_ANSWERED
    ),
    "release": CommandHelp(
        ("release 6f1c2a --config site.toml", "release 6f1c2a"), exit_codes=_NODE_ANSWERED
    ),
    "turns": CommandHelp(
        ("turns 6f1c2a --config site.toml", "turns 6f1c2a --json"), exit_codes=_NODE_ANSWERED
    ),
    "route": CommandHelp(
        ("route 1.2.840.1 --config site.toml", "route --explain ct/0001.dcm --config site.toml"),
        _ROUTES,
        "0 it was applied or explained, matching or not, 1 it could not be, 2 the command line is "
        "wrong",
    ),
    "replay": CommandHelp(
        ("replay result/ --target liver --out turns/", "replay 6f1c2a --config site.toml"),
        "DIR is what `segnode segment --out DIR` left: trace.json, turns.masks and source.json.",
    ),
    "models list": CommandHelp(("models list", "models list --config site.toml")),
    "models fetch": CommandHelp(
        ("models fetch MedSAM2_latest", "models fetch MedSAM2_latest --config site.toml")
    ),
    "models verify": CommandHelp(("models verify", "models verify MedSAM2_latest")),
    "models promote": CommandHelp(
        (
            "models promote run/model --as reader --evaluation report/",
            "models promote run/model --as reader --evaluation new/ --against old/ --margin 0.02",
        )
    ),
    "models rollback": CommandHelp(
        ("models rollback --as reader", 'models rollback --as reader --reason "misses the spleen"')
    ),
    "train sft": CommandHelp(
        (
            "train sft trajectories/ --base model/ --out run/ --lora 8",
            "train sft trajectories/ --base model/ --out run/ --resume",
        ),
        "DATA is what `segnode trajectories` made.",
    ),
    "train grpo": CommandHelp(
        (
            "train grpo data/ --base sft/model --out run/ --preset medsam-agent",
            "train grpo data/ --base sft/model --out run/ --steps 200 --prompts 8 --group 16",
        ),
        _TRUTHS,
    ),
    "trajectories": CommandHelp(
        (
            "trajectories data/ --segmenter litemedsam --out trajectories/ --per-case 4",
            "trajectories data/ --segmenter medsam2 --out trajectories/ --shards 1/4 --resume",
        ),
        _TRUTHS,
    ),
    "data list": CommandHelp(("data list", "data list | grep CT")),
    "data check": CommandHelp(
        ("data check data/", "data check data/ --write-manifest"),
        _TRUTHS,
    ),
    "evaluate": CommandHelp(
        (
            "evaluate data/ --split validation --out report/",
            "evaluate data/ --policy locator --segmenter litemedsam --out new/ --against old/",
        ),
        _TRUTHS,
    ),
    "check": CommandHelp(
        (
            "check --config site.toml",
            "check --config site.toml && segnode serve --config site.toml",
        ),
        _CHECKS,
        "0 nothing fails, 1 something does or the settings cannot be read, 2 the command line is "
        "wrong",
    ),
}
"""Every command that runs, by its words."""


def add_help(parser: argparse.ArgumentParser, command: str) -> None:
    """Put examples, files and exit codes under the help of `command` and of all below it."""
    for words, one in commands_of(parser, command):
        command_help = COMMAND_HELP.get(words)
        if command_help is None:
            continue
        parts = [
            *([command_help.more] if command_help.more else []),
            "\n  ".join(
                ["examples:", *(f"segnode {example}" for example in command_help.examples)]
            ),
            textwrap.fill(f"exit codes: {command_help.exit_codes}", _WIDTH),
        ]
        one.formatter_class = argparse.RawDescriptionHelpFormatter
        one.epilog = "\n\n".join(parts)


def commands_of(
    parser: argparse.ArgumentParser, words: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The commands of a parser that have none below them, with their words."""
    below = [
        action
        for action in parser._actions  # noqa: SLF001  argparse has no public way to its parsers
        if isinstance(action, argparse._SubParsersAction)  # noqa: SLF001  the same
    ]
    if not below:
        yield words, parser
    for action in below:
        for name, command in action.choices.items():
            yield from commands_of(command, f"{words} {name}".strip())
