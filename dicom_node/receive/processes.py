"""Several receivers, one a process: what takes one down costs its connections alone.

The listener accepts and counts; each connection goes to the receiver that has fewest. A receiver
that died is started again.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

from dicom_node.errors import DicomNodeError
from dicom_node.log_text import current_log_format
from dicom_node.receive.application_entity import ApplicationEntity
from dicom_node.receive.channel import Channel, Message
from dicom_node.receive.inbox import Inbox
from dicom_node.receive.process import arrival_of, node_as_message
from dicom_node.receive.receiver import ConnectionRegistry

logger = logging.getLogger(__name__)

_START_S = 30.0
_STOP_S = 15.0
_SEND_S = 5
_STILL_S = 30.0  # loading pynetdicom holds a receiver up for some seconds on a slow machine
_FIRST_WAIT_S, _LONGEST_WAIT_S, _STEADY_S = 0.2, 30.0, 60.0
_MOST_BY_CORES = 4


def processes_by_cores() -> int:
    """How many receivers a machine gets by default.

    One a core, and few, since disks are slower than cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, _MOST_BY_CORES)


@dataclass
class _ReceiverProcess:
    """A receiver's process; `numbers` of the connections that it has.

    It answered last at `answered_s` of the monotonic clock; `is_asked` while an answer is due.
    """

    process: subprocess.Popen[bytes]
    channel: Channel
    numbers: set[int] = field(default_factory=set)
    answered_s: float = field(default_factory=time.monotonic)
    is_asked: bool = False


def _connection_count(receiver: _ReceiverProcess) -> int:
    return len(receiver.numbers)


class ReceiverProcesses:
    """Receivers for `listener.Listener`: `count` processes that keep instances in `inbox`.

    Their questions and notices go to `registry`.

    They log at the level of this process's root logger, and in its format.
    """

    def __init__(
        self, node: ApplicationEntity, inbox: Inbox, registry: ConnectionRegistry, *, count: int
    ) -> None:
        self._node, self._inbox, self._registry = node, inbox, registry
        self._count = count
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._running: list[_ReceiverProcess] = []
        self._stopping = threading.Event()
        self._keepers: list[threading.Thread] = []
        self._moved_s = time.monotonic()

    def start(self) -> None:
        """Start them all; DicomNodeError when they do not."""
        self._keepers = [
            threading.Thread(target=self._keep_one, name=f"receiver {place}", daemon=True)
            for place in range(self._count)
        ]
        for keeper in self._keepers:
            keeper.start()
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._running) == self._count, _START_S):
                self._stopping.set()
                raise DicomNodeError("the receivers do not start; their own messages are above")

    def serve(self, connection: socket.socket, address: str, number: int) -> None:
        """Give a connection to the receiver that has fewest, as soon as there is one."""
        message = {"kind": "serve", "address": address, "number": number}
        while not self._stopping.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._running or self._stopping.is_set(), _SEND_S)
                receiver = min(self._running, key=_connection_count, default=None)
                if receiver is None:
                    continue
                receiver.numbers.add(number)
            if self._send(receiver, message, connection):
                break
        else:
            self._registry.leave(number)
        connection.close()

    def end(self, number: int, why: str) -> None:
        """End a connection soon."""
        with self._lock:
            owners = [receiver for receiver in self._running if number in receiver.numbers]
        for receiver in owners:
            self._send(receiver, {"kind": "end", "number": number, "why": why})

    def moved_s(self) -> float:
        """When the receiver that is silent for longest last answered; each is asked anew.

        While none runs, the last value is repeated.
        """
        with self._lock:
            running = list(self._running)
            unasked = [receiver for receiver in running if not receiver.is_asked]
            for receiver in unasked:
                receiver.is_asked = True
        for receiver in unasked:
            self._send(receiver, {"kind": "move"})
        self._kill_those_that_stand_still()
        if running:
            self._moved_s = min(receiver.answered_s for receiver in running)
        return self._moved_s

    def stop(self) -> None:
        """Stop them all and return when that has happened."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
            running = list(self._running)
        for receiver in running:
            self._send(receiver, {"kind": "stop"})
        for keeper in self._keepers:
            keeper.join(_STOP_S)

    def process_ids(self) -> list[int]:
        """Of the receivers that run now."""
        with self._lock:
            return [receiver.process.pid for receiver in self._running]

    def _keep_one(self) -> None:
        """Keep one receiver running until all are stopped."""
        failures = 0
        while not self._stopping.is_set():
            began_s = time.monotonic()
            receiver = self._spawn()
            self._listen_to(receiver)
            code = self._see_off(receiver)
            if self._stopping.is_set():
                return
            failures = 1 if time.monotonic() - began_s > _STEADY_S else failures + 1
            wait_s = min(_FIRST_WAIT_S * 2 ** (failures - 1), _LONGEST_WAIT_S)
            logger.error(
                "a receiver (process %d) ended with %s; starting it again in %.1f s",
                receiver.process.pid,
                f"signal {-code}" if code < 0 else f"code {code}",
                wait_s,
            )
            self._stopping.wait(wait_s)

    def _spawn(self) -> _ReceiverProcess:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", _SEND_S, 0))
        descriptor = theirs.fileno()
        # -P: no folder that it happens to be started in may hold a module of its
        command = [sys.executable, "-P", "-m", "dicom_node.receive.process", str(descriptor)]
        process = subprocess.Popen(  # noqa: S603 - our own command line
            command, pass_fds=(descriptor,), stdin=subprocess.DEVNULL
        )
        theirs.close()
        return _ReceiverProcess(process, Channel(ours))

    def _listen_to(self, receiver: _ReceiverProcess) -> None:
        """Until it is gone."""
        root, minimum_free_bytes = self._inbox.place()
        begin = {
            "kind": "begin",
            "node": node_as_message(self._node),
            "inbox": str(root),
            "minimum_free_bytes": minimum_free_bytes,
            "log_level": logging.getLogger().level,
            "log_format": current_log_format(),
        }
        if not self._send(receiver, begin):
            return
        for message in receiver.channel.messages():
            try:
                self._hear(receiver, message)
            except Exception:  # one message's boundary: the receiver's others must be heard
                logger.exception("a message of a receiver could not be acted upon")

    def _hear(self, receiver: _ReceiverProcess, message: Message) -> None:
        kind, number = message["kind"], message.get("number", 0)
        if kind == "arrived":
            self._registry.arrived(number, message["name"], arrival_of(message))
        elif kind == "associate":
            granted = self._registry.associate(number, message["name"])
            self._send(receiver, {"kind": kind, "number": number, "granted": granted})
        elif kind == "used":
            self._registry.used(number, to_store=message["to_store"])
        elif kind == "dissociate":
            self._registry.dissociate(number)
        elif kind == "leave":
            with self._lock:
                receiver.numbers.discard(number)
            self._registry.leave(number)
        elif kind == "moves":
            receiver.answered_s, receiver.is_asked = time.monotonic(), False
        elif kind == "ready":
            receiver.answered_s = time.monotonic()
            with self._changed:
                self._running.append(receiver)
                self._changed.notify_all()

    def _kill_those_that_stand_still(self) -> None:
        """Kill receivers that do not answer; others are started.

        Such a receiver serves nobody, but would be given ever more connections.
        """
        latest_s = time.monotonic() - _STILL_S
        with self._lock:
            still = [
                receiver
                for receiver in self._running
                if receiver.is_asked and receiver.answered_s < latest_s
            ]
            for receiver in still:
                self._running.remove(receiver)
        for receiver in still:
            logger.error("a receiver (process %d) stands still: killed", receiver.process.pid)
            receiver.process.kill()

    def _see_off(self, receiver: _ReceiverProcess) -> int:
        """Clear up after a receiver that is gone, or does not answer any more; its exit code."""
        with self._lock:
            if receiver in self._running:
                self._running.remove(receiver)
        receiver.channel.close()
        try:
            code = receiver.process.wait(_STOP_S if self._stopping.is_set() else _SEND_S)
        except subprocess.TimeoutExpired:
            receiver.process.kill()
            code = receiver.process.wait()
        for number in sorted(receiver.numbers):
            self._registry.leave(number)
        self._inbox.sweep(receiver.process.pid)
        return code

    def _send(
        self, receiver: _ReceiverProcess, message: Message, connection: socket.socket | None = None
    ) -> bool:
        """Send a message; whether that succeeded.

        A receiver that does not read is killed, and another is started.
        """
        try:
            receiver.channel.send(message, connection)
        except OSError:
            receiver.process.kill()
            return False
        return True
