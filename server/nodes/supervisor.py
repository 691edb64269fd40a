"""`segnode serve`: owns the database if it is embedded, and keeps the listener, the worker and the
API running.

Loads neither models nor the DICOM edge: whatever takes a child down cannot take this process with
it.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from server.nodes.gpus import VISIBLE_VARIABLE
from server.nodes.lifecycle import PARENT_VARIABLE, READY_VARIABLE, own_python, safe_environment
from server.settings import ENVIRONMENT_PREFIX

logger = logging.getLogger(__name__)

DATABASE_VARIABLE = f"{ENVIRONMENT_PREFIX}DATABASE__URL"
POLL_S = 0.1
STEADY_POLL_S = 0.5
"""Between two looks at the children once all are ready."""
KEEP_UP_S = 5.0
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
STEADY_S = 60.0
STOP_LIMIT_S = 20.0
FAILURES_AT_START = 3


@dataclass(frozen=True)
class ChildSpec:
    """A process to keep running: `name` for the log, `command` its argument list, `environment`
    what it alone is given.

    A node whose `essential` process cannot even start gives up; the others are tried for ever.
    """

    name: str
    command: tuple[str, ...]
    essential: bool = False
    environment: tuple[tuple[str, str], ...] = ()


def node_children(config_files: Sequence[str], gpus: Sequence[str] = ()) -> tuple[ChildSpec, ...]:
    """The listener, the workers and the API of one node, with the same configuration files.

    A worker for each of `gpus` (as CUDA_VISIBLE_DEVICES names them) that sees no other, or one
    where there are none.
    """
    options = tuple(word for file in config_files for word in ("--config", str(file)))

    def command(part: str) -> tuple[str, ...]:
        return own_python("-m", "server.cli", part, *options)

    workers = [
        ChildSpec(f"work on {gpu}", command("work"), environment=((VISIBLE_VARIABLE, gpu),))
        for gpu in gpus
    ]
    # without the database worker and API wait and come back, but images are received all the time
    return (
        ChildSpec("listen", command("listen"), essential=True),
        *(workers or [ChildSpec("work", command("work"))]),
        ChildSpec("api", command("api")),
    )


@dataclass
class _Child:
    """A running child and its history."""

    spec: ChildSpec
    process: subprocess.Popen[bytes] | None = None
    ready_pipe: int = -1
    ready: str | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    failures: int = 0
    heard: bytes = field(default=b"")


class Supervisor:
    """Starts the children, restarts those that crash, and stops them all.

    `environment` is given to each child; `on_ready` is called once, with what each child said of
    itself, when all are ready; `keep_up` is called now and then to look after what the children
    need (the embedded database).
    """

    def __init__(
        self,
        children: Sequence[ChildSpec],
        *,
        environment: Mapping[str, str],
        on_ready: Callable[[Sequence[str]], None],
        keep_up: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._children = [_Child(spec) for spec in children]
        self._environment = safe_environment(environment)
        self._on_ready = on_ready
        self._keep_up = keep_up
        self._clock = clock
        self._announced = False

    def run(self, stop: threading.Event) -> int:
        """Keep the node running until `stop`; 0, or 1 when an essential child cannot even start."""
        try:
            kept_up_s = self._clock()
            while not stop.wait(STEADY_POLL_S if self._announced else POLL_S):
                for child in self._children:
                    self._tend(child)
                if not self._announced and self._failed_to_start():
                    return 1
                self._announce()
                if self._clock() - kept_up_s >= KEEP_UP_S:
                    self._keep_up()
                    kept_up_s = self._clock()
            return 0
        finally:
            self._stop_all()

    def _tend(self, child: _Child) -> None:
        if child.process is None:
            if self._clock() >= child.start_at:
                self._start(child)
            return
        _listen_for_ready(child)
        code = child.process.poll()
        if code is not None:
            self._note_end(child, code)

    def _start(self, child: _Child) -> None:
        receiving, sending = os.pipe()
        os.set_blocking(receiving, False)
        environment = (
            self._environment
            | dict(child.spec.environment)
            | {
                PARENT_VARIABLE: str(os.getpid()),
                READY_VARIABLE: str(sending),
            }
        )
        child.process = subprocess.Popen(  # noqa: S603 - our own command line
            child.spec.command, env=environment, pass_fds=(sending,), stdin=subprocess.DEVNULL
        )
        os.close(sending)
        child.ready_pipe, child.ready, child.heard = receiving, None, b""
        child.started_at = self._clock()

    def _note_end(self, child: _Child, code: int) -> None:
        now = self._clock()
        child.failures = 1 if now - child.started_at > STEADY_S else child.failures + 1
        wait_s = min(FIRST_WAIT_S * 2 ** (child.failures - 1), LONGEST_WAIT_S)
        logger.error(
            "'%s' (process %d) ended with %s; starting it again in %.0f s",
            child.spec.name,
            child.process.pid if child.process else 0,
            f"signal {-code}" if code < 0 else f"code {code}",
            wait_s,
        )
        child.process, child.start_at = None, now + wait_s
        os.close(child.ready_pipe)

    def _failed_to_start(self) -> bool:
        failed = [
            child.spec.name
            for child in self._children
            if child.spec.essential and child.failures >= FAILURES_AT_START
        ]
        for name in failed:
            logger.error("'%s' does not start; its own message is above", name)
        return bool(failed)

    def _announce(self) -> None:
        messages = [child.ready for child in self._children]
        if not self._announced and None not in messages:
            self._announced = True
            self._on_ready([text for text in messages if text])

    def _stop_all(self) -> None:
        running = [child for child in self._children if child.process is not None]
        for child in running:
            if child.process is not None:
                child.process.terminate()
        deadline = time.monotonic() + STOP_LIMIT_S
        for child in running:
            if child.process is not None:
                _wait_or_kill(child.spec.name, child.process, deadline)
                os.close(child.ready_pipe)


def _listen_for_ready(child: _Child) -> None:
    try:
        child.heard += os.read(child.ready_pipe, 4096)
    except BlockingIOError:
        return
    if child.ready is None and b"\n" in child.heard:
        child.ready = child.heard.partition(b"\n")[0].decode("utf-8", "replace")


def _wait_or_kill(name: str, process: subprocess.Popen[bytes], deadline: float) -> None:
    try:
        process.wait(timeout=max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        logger.warning("'%s' does not stop: killed", name)
        process.kill()
        process.wait()
