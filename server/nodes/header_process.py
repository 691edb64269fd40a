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
import os
import resource
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import TypeAdapter

from dicom_node.errors import UnreadableDataset
from dicom_node.series.header import read_header
from dicom_node.values import InstanceHeader
from server.settings import ENVIRONMENT_PREFIX

logger = logging.getLogger(__name__)

MOST_MEMORY_BYTES = (
    1 << 30
)  # beside the file, which is mapped: 256 MB inflated and a sequence of 64 MB fit in
LONGEST_READ_S = 30.0  # the largest headers (50,000 frames) take five seconds
LONGEST_START_S = 60.0
_ATTEMPTS = 2
_LONGEST_ANSWER_BYTES = 1 << 20
_READY = b"ready\n"
_DIED, _TOO_MUCH = "ended its reader", "takes too much memory"
_HEADER = TypeAdapter(InstanceHeader)


class _ReaderDied(Exception):
    """The child is gone, or was ended; the message says how in the words of a sentence's end."""


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
        self._command = (*command, str(most_memory_bytes))
        self._longest_read_s = longest_read_s
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

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
                    return _header(path, self._answer(path))
                except _ReaderDied as death:
                    logger.warning("the reader of headers %s at %s", death, path)
                    if attempt == _ATTEMPTS:
                        raise UnreadableDataset(f"reading it {death}") from death
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End the child; a later call starts another."""
        with self._lock:
            self._end()

    def _answer(self, path: Path) -> bytes:
        """The child's line about a file."""
        child = self._running()
        try:
            _stdin(child).write(json.dumps(str(path)).encode("ascii") + b"\n")
            _stdin(child).flush()
            return _line(child, self._longest_read_s)
        except _ReaderDied as error:
            raise _ReaderDied(self._end() or str(error)) from error
        except OSError as error:
            raise _ReaderDied(self._end() or _DIED) from error

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._child = subprocess.Popen(  # noqa: S603 - our own command line
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
        )
        try:
            _line(self._child, LONGEST_START_S)
        except _ReaderDied as error:
            self._end()
            raise OSError("the process that reads headers does not start") from error
        return self._child

    def _end(self) -> str:
        """Make sure that there is no child; how it had ended by itself, empty if it had not."""
        child, self._child = self._child, None
        if child is None:
            return ""
        try:
            code = child.wait(timeout=0.2)  # it may be just about to end
        except subprocess.TimeoutExpired:
            code = None
            child.kill()
            child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # what it did not take any more
                    logger.debug("the reader of headers left something unread")
        if code is None:
            return ""
        return _TOO_MUCH if code == -signal.SIGKILL else _DIED


def _environment() -> dict[str, str]:
    """What the child needs of ours: no secret of a setting, and numerical libraries of one thread's
    memory.
    """
    ours = {key: text for key, text in os.environ.items() if not key.startswith(ENVIRONMENT_PREFIX)}
    return ours | dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")


def _stdin(child: subprocess.Popen[bytes]) -> Any:
    return child.stdin


def _line(child: subprocess.Popen[bytes], limit_s: float) -> bytes:
    """The next line that the child writes, within `limit_s` seconds."""
    if child.stdout is None:
        raise _ReaderDied("has no output")
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(limit_s):
                raise _ReaderDied(f"takes longer than {limit_s:.0f} s")
            part = os.read(child.stdout.fileno(), 1 << 16)
            if not part or len(line) > _LONGEST_ANSWER_BYTES:
                raise _ReaderDied(_DIED)
            line += part
    return line


def _header(path: Path, line: bytes) -> InstanceHeader:
    """What a line of the child says."""
    try:
        answer = json.loads(line)  # one line, or it is no JSON
        if answer["path"] != str(path):
            raise _ReaderDied(_DIED)
        if "header" in answer:
            return _HEADER.validate_python(answer["header"])
    except (ValueError, TypeError, LookupError) as error:
        raise _ReaderDied(_DIED) from error
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
            return {"unreadable": f"reading it {_TOO_MUCH}"}
        return {"disk": error.strerror, "number": error.errno or 0}


def main(most_memory_bytes: int) -> None:
    """The child: a line with a path in, a line about its header out, until there are no more."""
    # a terminal's interrupt goes to the whole group: the parent decides when this ends
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = sys.stdout.buffer
    answers.write(_READY)
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
