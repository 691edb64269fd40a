"""Pictures of turns, drawn in a child process: drawing takes a whole volume and the decoders of
what peers sent, and the API has neither in its own memory.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from server.errors import PictureFailed, TurnsGone
from server.nodes.child_process import ENDED, ChildDied, ChildProcess

logger = logging.getLogger(__name__)

MOST_MEMORY_BYTES = 6 << 30
"""2,000 slices of 512 by 512 take 2.1 GB as intensities, and as much on the working grid."""
LONGEST_DRAWING_S = 120.0
"""The first picture of a request reads its study: 500 slices in some ten seconds."""
IDLE_S = 60.0
"""After this long without a question the child ends and gives its memory back."""
MOST_PICTURE_BYTES = 32 << 20
"""Of a picture as PNG; the largest have some 2 MB."""
_ATTEMPTS = 2  # it may just have ended by itself when it is asked


class PictureProcess:
    """Draws turns of the requests whose folders lie in `work`; any thread may call it, one picture
    is drawn at a time.

    `command` starts a child that speaks as server.study.picture_child does.
    """

    def __init__(
        self,
        work: Path,
        most_memory_bytes: int = MOST_MEMORY_BYTES,
        longest_drawing_s: float = LONGEST_DRAWING_S,
        idle_s: float = IDLE_S,
        command: Sequence[str] = (sys.executable, "-P", "-m", "server.study.picture_child"),
    ) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._closed = False
        self._child = ChildProcess(
            (*command, str(most_memory_bytes), str(idle_s)),
            longest_drawing_s,
            MOST_PICTURE_BYTES // 3 * 4,
        )

    def __enter__(self) -> PictureProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def png(self, request_id: str, target_index: int, turn: Mapping[str, Any]) -> bytes:
        """A turn (agent.trace.turn_record) of target `target_index` of a request as a picture.

        TurnsGone when its masks or its study are not here any more, or do not agree with the
        record; PictureFailed when drawing took too much.
        """
        question = {
            "folder": str(self._work / request_id),
            "target": target_index,
            "turn": dict(turn),
        }
        line = json.dumps(question).encode("ascii") + b"\n"
        with self._lock:
            for attempt in range(1, _ATTEMPTS + 1):
                if self._closed:
                    raise PictureFailed("the node stops")
                try:
                    return _png(self._child.ask(line))
                except ChildDied as death:
                    logger.warning("drawing a turn of request %s %s", request_id, death)
                    if attempt == _ATTEMPTS:
                        raise PictureFailed(f"drawing this turn {death}") from death
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End the child, also in the middle of a picture; no later call starts another."""
        self._closed = True
        self._child.kill()
        with self._lock:
            self._child.end()


def _png(line: bytes) -> bytes:
    """The picture in the child's answer."""
    try:
        answer = json.loads(line)
        if "png" in answer:
            return base64.b64decode(answer["png"], validate=True)
        if "gone" in answer:
            raise TurnsGone(str(answer["gone"]))
        failure = str(answer["failed"])
    except (ValueError, TypeError, LookupError, binascii.Error) as error:
        raise ChildDied(ENDED) from error
    raise PictureFailed(f"drawing this turn {failure}")
