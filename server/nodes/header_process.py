"""Headers are read in a process that may die: files are what peers sent, and the listener must
outlive each of them.

One child, started at the first file and again when it has died, with bounds on memory and time of
its own. Paths go in and headers come out as JSON, a line each. A file that kills its reader twice
is unreadable, with the reason; once may have been the machine's fault.
"""

from __future__ import annotations

import errno
import json
import logging
import resource
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import TypeAdapter

from dicom_node.errors import UnreadableDataset
from dicom_node.log_text import log_as_child
from dicom_node.series.header import read_header
from dicom_node.values import InstanceHeader
from server.nodes.child_process import ENDED, READY, TOO_MUCH_MEMORY, ChildDied, ChildProcess

logger = logging.getLogger(__name__)

MOST_MEMORY_BYTES = (
    1 << 30
)  # beside the file, which is mapped: 256 MB inflated and a sequence of 64 MB fit in
LONGEST_READ_S = 30.0  # the largest headers (50,000 frames) take five seconds
_ATTEMPTS = 2
_LONGEST_ANSWER_BYTES = 1 << 20
_HEADER = TypeAdapter(InstanceHeader)


class HeaderProcess:
    """`read_header` in another process; any thread may call it, one file is read at a time.

    `command` starts a child that speaks as `main` does.
    """

    def __init__(
        self,
        most_memory_bytes: int = MOST_MEMORY_BYTES,
        longest_read_s: float = LONGEST_READ_S,
        command: Sequence[str] = (sys.executable, "-P", "-m", __name__),
    ) -> None:
        self._lock = threading.Lock()
        self._child = ChildProcess(
            (*command, str(most_memory_bytes)), longest_read_s, _LONGEST_ANSWER_BYTES
        )

    def __enter__(self) -> HeaderProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def read_header(self, path: Path) -> InstanceHeader:
        """As dicom_node.series.header.read_header; UnreadableDataset also for a file that its
        reader does not survive.
        """
        with self._lock:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    return _header(path, self._child.ask(_question(path)))
                except ChildDied as death:
                    logger.warning("the reader of headers %s at %s", death, path)
                    if attempt == _ATTEMPTS:
                        raise UnreadableDataset(f"reading it {death}") from death
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End the child; a later call starts another."""
        with self._lock:
            self._child.end()


def _question(path: Path) -> bytes:
    return json.dumps(str(path)).encode("ascii") + b"\n"


def _header(path: Path, line: bytes) -> InstanceHeader:
    """What a line of the child says."""
    try:
        answer = json.loads(line)  # one line, or it is no JSON
        if answer["path"] != str(path):
            raise ChildDied(ENDED)
        if "header" in answer:
            return _HEADER.validate_python(answer["header"])
    except (ValueError, TypeError, LookupError) as error:
        raise ChildDied(ENDED) from error
    if answer.get("missing"):
        raise FileNotFoundError(path)
    if "disk" in answer:
        raise OSError(int(answer["number"]), str(answer["disk"]), str(path))
    raise UnreadableDataset(str(answer.get("unreadable")))


def _described(path: Path) -> dict[str, Any]:
    """What the child has to say of a file."""
    try:
        return {"header": _HEADER.dump_python(read_header(path), mode="json")}
    except UnreadableDataset as error:
        return {"unreadable": str(error)}
    except FileNotFoundError:
        return {"missing": True}
    except (MemoryError, OSError) as error:
        if isinstance(error, MemoryError) or error.errno == errno.ENOMEM:
            return {"unreadable": f"reading it {TOO_MUCH_MEMORY}"}
        return {"disk": error.strerror, "number": error.errno or 0}


def main(most_memory_bytes: int) -> None:
    """The child: a line with a path in, a line about its header out, until there are no more."""
    # a terminal's interrupt goes to the whole group: the parent decides when this ends
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log_as_child("headers")
    answers = sys.stdout.buffer
    answers.write(READY)
    answers.flush()
    for line in sys.stdin.buffer:
        path = Path(json.loads(line))
        _limit_memory(most_memory_bytes, path)
        answers.write(json.dumps(_described(path) | {"path": str(path)}).encode("ascii") + b"\n")
        answers.flush()


def _limit_memory(most_memory_bytes: int, path: Path) -> None:
    """So much beside the file itself, which is mapped and counts as well."""
    size_bytes = path.stat().st_size if path.is_file() else 0
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = most_memory_bytes + size_bytes
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


if __name__ == "__main__":
    main(int(sys.argv[1]))
