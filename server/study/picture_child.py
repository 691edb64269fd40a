"""The child that draws the pictures of turns: a line with a turn in, a line with a PNG out.

It keeps one request's volume from a picture to the next, and ends by itself when nothing was asked
for a while. server.nodes.picture_process starts it; for a trial by hand:

    python -m server.study.picture_child 6000000000 60
"""

from __future__ import annotations

import base64
import io
import json
import resource
import selectors
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from agent.errors import AgentError, ReplayDiffers
from agent.recorded import ReplayedTurn, name_of
from agent.replay import ReplayedTarget
from agent.trace import turn_from_record
from agent.turns import Turn
from dicom_node.log_text import log_as_child
from server.errors import ReplayError, ServerError
from server.study.request_replay import TRACE, RequestReplay, check_row
from server.study.source_files import SOURCE, read_source
from server.study.turn_mask_file import TURN_MASKS

_Version = tuple[tuple[int, int], ...]
"""When each file that a picture follows from was last changed (ns), and its size."""


@dataclass
class _Opened:
    """A request's replay, and the target that was last gone through again."""

    folder: Path
    version: _Version
    replay: RequestReplay
    index: int = -1
    target: ReplayedTarget | None = None


class TurnDrawer:
    """Draws turns of finished requests; holds one request's volume and one target's turns."""

    def __init__(self, open_replay: Callable[[Path], RequestReplay] = RequestReplay) -> None:
        self._open_replay = open_replay
        self._opened: _Opened | None = None

    def png(self, folder: Path, index: int, row: Turn) -> bytes:
        """The picture of the turn that the database holds as `row`, of target `index` of the
        request in `folder`. ReplayError, ReplayDiffers: what is gone, or does not agree.
        """
        replay = self._of(folder)
        turn = _same_turn(self._target(replay, index), row)
        check_row(turn.turn, row)
        stream = io.BytesIO()
        Image.fromarray(replay.picture(index, turn)).save(stream, format="PNG")
        return stream.getvalue()

    def _of(self, folder: Path) -> RequestReplay:
        if not (folder / TRACE).is_file():
            raise ReplayError("no trace of the request's turns is here to draw from")
        version = tuple(map(_last_change, (folder / name for name in (TRACE, TURN_MASKS, SOURCE))))
        opened = self._opened
        if opened is None or (opened.folder, opened.version) != (folder, version):
            self._opened = None  # the volume of another request goes before this one is read
            opened = self._opened = _Opened(folder, version, self._open_replay(folder))
        read_source(folder / SOURCE).check_here()
        return opened.replay

    def _target(self, replay: RequestReplay, index: int) -> ReplayedTarget:
        opened = self._opened
        if opened is None or not 0 <= index < len(replay.targets):
            raise ReplayDiffers(f"the trace has no target {index}")
        if opened.target is None or opened.index != index:
            opened.target = None
            target = replay.target(index)
            replay.check_mask(index, target)
            opened.index, opened.target = index, target
        return opened.target


def _same_turn(target: ReplayedTarget, row: Turn) -> ReplayedTurn:
    for turn in target.turns:
        if (turn.turn.slice_index, turn.turn.index) == (row.slice_index, row.index):
            return turn
    raise ReplayDiffers(f"{name_of(row)} is in the database and not in the trace")


def _last_change(path: Path) -> tuple[int, int]:
    if not path.is_file():
        return 0, -1
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def answer_to(question: Mapping[str, Any], drawer: TurnDrawer) -> dict[str, str]:
    """What the child says: {"png": base64}, {"gone": sentence}, or {"failed": end of a sentence}
    where the memory it may take is too little.
    """
    try:
        row = turn_from_record(question["turn"])
        png = drawer.png(Path(question["folder"]), int(question["target"]), row)
    except (ServerError, AgentError) as error:
        return {"gone": str(error)}
    except MemoryError:
        return {"failed": "takes too much memory"}
    return {"png": base64.b64encode(png).decode("ascii")}


def main(most_memory_bytes: int, idle_s: float) -> None:
    """Answer lines until there are no more, or none came for `idle_s` seconds."""
    # a terminal's interrupt goes to the whole group: the parent decides when this ends
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log_as_child("pictures")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = most_memory_bytes if hard == resource.RLIM_INFINITY else min(most_memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    drawer, answers = TurnDrawer(), sys.stdout.buffer
    answers.write(b"ready\n")
    answers.flush()
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin.buffer, selectors.EVENT_READ)
        # one line is asked at a time, so none waits in the buffer
        while selector.select(idle_s):
            line = sys.stdin.buffer.readline()
            if not line:
                return
            answer = answer_to(json.loads(line), drawer)
            answers.write(json.dumps(answer).encode("ascii") + b"\n")
            answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
