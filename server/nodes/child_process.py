"""A child process that answers lines, and may die of one: what it works on is what peers sent.

It is started at the first line and again when it has died. It says READY once, then a line for each
line; a line that it does not survive is the caller's to judge.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from collections.abc import Sequence
from typing import IO

from dicom_node.log_text import FORMAT_VARIABLE, current_log_format
from server.settings import ENVIRONMENT_PREFIX

READY = b"ready\n"
LONGEST_START_S = 60.0
ENDED, TOO_MUCH_MEMORY = "ended its process", "takes too much memory"


class ChildDied(Exception):
    """The child is gone, or was ended; the message says how in the words of a sentence's end."""


class ChildProcess:
    """The child that `command` starts; one thread at a time asks it.

    An answer comes within `longest_answer_s` and has `longest_answer_bytes` at most.
    """

    def __init__(
        self, command: Sequence[str], longest_answer_s: float, longest_answer_bytes: int
    ) -> None:
        self._command = tuple(command)
        self.longest_answer_s = longest_answer_s
        self._longest_answer_bytes = longest_answer_bytes
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, line: bytes) -> bytes:
        """The child's line about `line`, both with their ends; ChildDied without one. OSError when
        no child can be started.
        """
        process = self._running()
        try:
            stdin = _open(process.stdin)
            stdin.write(line)
            stdin.flush()
            return self._line(process, self.longest_answer_s)
        except ChildDied as error:
            raise ChildDied(self.end() or str(error)) from error
        except OSError as error:
            raise ChildDied(self.end() or ENDED) from error

    def kill(self) -> None:
        """End the child at once, from any thread: who asks it just now hears that it died."""
        process = self._process
        if process is not None:
            process.kill()

    def end(self) -> str:
        """Make sure that there is no child; how it had ended by itself, empty if it had not."""
        process, self._process = self._process, None
        if process is None:
            return ""
        try:
            code = process.wait(timeout=0.2)  # it may be just about to end
        except subprocess.TimeoutExpired:
            code = None
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout):
            try:
                _open(stream).close()
            except OSError:  # what it did not take any more
                continue
        if code is None:
            return ""
        return TOO_MUCH_MEMORY if code == -signal.SIGKILL else ENDED

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.end()
        self._process = subprocess.Popen(  # noqa: S603 - our own command line
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
        )
        try:
            self._line(self._process, LONGEST_START_S)
        except ChildDied as error:
            self.end()
            raise OSError("a child process does not start") from error
        return self._process

    def _line(self, process: subprocess.Popen[bytes], limit_s: float) -> bytes:
        """The next line that the child writes, within `limit_s` seconds of silence."""
        stdout = _open(process.stdout)
        parts: list[bytes] = []
        length = 0
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while not (parts and parts[-1].endswith(b"\n")):
                if not selector.select(limit_s):
                    raise ChildDied(f"takes longer than {limit_s:.0f} s")
                part = os.read(stdout.fileno(), 1 << 16)
                length += len(part)
                if not part or length > self._longest_answer_bytes:
                    raise ChildDied(ENDED)
                parts.append(part)
        return b"".join(parts)


def _environment() -> dict[str, str]:
    """What the child needs of ours: no secret of a setting, and numerical libraries of one thread's
    memory.
    """
    ours = {key: text for key, text in os.environ.items() if not key.startswith(ENVIRONMENT_PREFIX)}
    one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    return ours | one_thread | {FORMAT_VARIABLE: current_log_format()}


def _open(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise AssertionError("the child was started with pipes")
    return stream
