"""`segnode replay`: the picture of every turn, and whether the turns lead where they should."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from agent.errors import ReplayDiffers
from agent.replay import ReplayedTarget
from agent.trace import turn_from_record
from agent.turns import WHOLE_VOLUME, Turn
from server.commands.console import Progress, say
from server.commands.options import Load, add_config, settings_of
from server.errors import ReplayError
from server.files import write_file
from server.settings import Settings
from server.study.request_replay import RequestReplay, summary_of

DISAGREEMENT = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `replay` takes."""
    add_config(parser, _replay)
    parser.add_argument(
        "source",
        metavar="REQUEST_ID|DIR",
        help="a request of this node, or the --out folder of `segnode segment`",
    )
    parser.add_argument("--target", metavar="TEXT", help="only this target")
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("replay-out"),
        help="where the pictures go, a PNG a turn; replay-out unless given",
    )


def _replay(arguments: argparse.Namespace, load: Load) -> int:
    folder, out = Path(arguments.source), arguments.out
    if folder.is_dir():
        replay = RequestReplay(folder)
    else:
        replay = _of_request(settings_of(arguments), arguments.source, load)
    faults = 0
    for index in _wanted(replay, arguments.target):
        text = replay.targets[index].target.text
        try:
            replayed = replay.target(index)
            say(f"{text}: {summary_of(replayed)}")
            replay.check_mask(index, replayed)
        except ReplayDiffers as error:
            faults += 1
            say(f"{text}: {error}", error=True)
        else:
            _draw(replay, index, replayed, out)
    say(f"pictures are in {out}")
    return DISAGREEMENT if faults else 0


def _of_request(settings: Settings, request_id: str, load: Load) -> RequestReplay:
    rows = {
        (row.target_index, row.slice_index, row.turn_index): turn_from_record(row.turn)
        for row in load("record").request_turns(settings, request_id)
    }
    return RequestReplay(settings.storage.dir / "work" / request_id, rows)


def _wanted(replay: RequestReplay, text: str | None) -> Sequence[int]:
    texts = [traced.target.text for traced in replay.targets]
    if text is None:
        return range(len(texts))
    indices = [index for index, known in enumerate(texts) if known.lower() == text.strip().lower()]
    if not indices:
        raise ReplayError(f"no target is called {text!r}: there are {', '.join(texts)}")
    return indices


def _draw(replay: RequestReplay, index: int, replayed: ReplayedTarget, out: Path) -> None:
    progress = Progress("replay")
    name = "".join(c if c.isalnum() else "_" for c in replay.targets[index].target.text)
    folder = out / f"{index:02d}-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    for number, turn in enumerate(replayed.turns):
        path = folder / f"{number:04d}-{_place(turn.turn)}.png"
        image = Image.fromarray(replay.picture(index, turn))
        write_file(path, partial(image.save, format="PNG"))
        progress.show(f"{name}, {number + 1} of {len(replayed.turns)} turns")
    progress.end()


def _place(turn: Turn) -> str:
    if turn.slice_index == WHOLE_VOLUME:
        return f"volume-{turn.role}"
    return f"slice{turn.slice_index:04d}-turn{turn.index}"
