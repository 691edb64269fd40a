"""A receiver in a process of its own, started by processes.py.

The command is `python -m dicom_node.receive.process DESCRIPTOR`.

The descriptor is its end of a channel to the listener. It stops when it is told so there, and dies
when that closes: it never outlives its listener. Small on purpose: neither numpy nor pydicom is
loaded until a peer wants more than to store.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import sys
import threading
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from dicom_node.arrivals import Arrival, KeptAs, StoredInstance
from dicom_node.log_text import LogFormat, log_end_of_thread, log_lines
from dicom_node.receive.allowed import AllowedPeers
from dicom_node.receive.application_entity import ApplicationEntity
from dicom_node.receive.channel import Channel, Message
from dicom_node.receive.inbox import Inbox
from dicom_node.receive.limits import PeerLimits
from dicom_node.receive.receiver import Receiver

_ANSWER_S = 10.0
# pydicom does without these, and nothing is decoded here: they would be half of what pynetdicom
# takes of memory and time
_NOT_NEEDED = ("numpy", "PIL", "pylibjpeg", "openjpeg", "imagecodecs", "rle", "jpeg_ls", "gdcm")


def node_as_message(node: ApplicationEntity) -> dict[str, Any]:
    """A node for a receiver's process."""
    return {
        "ae_title": node.ae_title,
        "ae_titles": sorted(node.allowed.ae_titles),
        "networks": [str(network) for network in node.allowed.networks],
        "limits": asdict(node.limits),
        "reference": node.reference,
    }


def node_of(message: Message) -> ApplicationEntity:
    """The node that `node_as_message` was given."""
    titles = frozenset(message["ae_titles"])
    allowed = AllowedPeers(titles, AllowedPeers.of((), message["networks"]).networks)
    return ApplicationEntity(
        message["ae_title"],
        allowed,
        PeerLimits(**message["limits"]),
        reference=message["reference"],
    )


def arrival_as_message(arrival: Arrival) -> dict[str, Any]:
    """An arrival for the listener."""
    return {
        "path": str(arrival.instance.path),
        "study": arrival.instance.study_instance_uid,
        "series": arrival.instance.series_instance_uid,
        "instance": arrival.instance.sop_instance_uid,
        "class": arrival.instance.sop_class_uid,
        "sha256": arrival.instance.sha256,
        "kept_as": arrival.kept_as,
        "title": arrival.calling_ae_title,
        "address": arrival.calling_address,
        "at": arrival.arrived_at.isoformat(),
    }


def arrival_of(message: Message) -> Arrival:
    """The arrival that `arrival_as_message` was given."""
    instance = StoredInstance(
        Path(message["path"]),
        message["study"],
        message["series"],
        message["instance"],
        message["class"],
        message["sha256"],
    )
    return Arrival(
        instance,
        KeptAs(message["kept_as"]),
        message["title"],
        message["address"],
        datetime.fromisoformat(message["at"]),
    )


class _RemoteRegistry:
    """The listener's registry, at the other end of the channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: dict[int, queue.SimpleQueue[bool]] = {}

    def associate(self, number: int, name: str) -> bool:
        """Ask, and wait for the answer."""
        answers = self._waiting[number] = queue.SimpleQueue()
        self._channel.send({"kind": "associate", "number": number, "name": name})
        try:
            return answers.get(timeout=_ANSWER_S)
        except queue.Empty:
            return False
        finally:
            del self._waiting[number]

    def answered(self, number: int, *, granted: bool) -> None:
        """The answer has come."""
        if answers := self._waiting.get(number):
            answers.put(granted)

    def used(self, number: int, *, to_store: bool) -> None:
        """Tell what an association is used for."""
        self._channel.send({"kind": "used", "number": number, "to_store": to_store})

    def arrived(self, number: int, name: str, arrival: Arrival) -> None:
        """Tell of an instance.

        The message is with the listener before the peer has its answer, even if this process dies.
        """
        header = {"kind": "arrived", "number": number, "name": name}
        self._channel.send(header | arrival_as_message(arrival))

    def dissociate(self, number: int) -> None:
        """Tell of the end of an association."""
        self._channel.send({"kind": "dissociate", "number": number})

    def leave(self, number: int) -> None:
        """Tell of the end of a connection."""
        self._channel.send({"kind": "leave", "number": number})


def main(descriptor: int) -> None:
    """Serve the connections that come through the channel."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the listener has them, too, and says when to stop
    sys.modules.update(dict.fromkeys(_NOT_NEEDED))  # type: ignore[arg-type]  # None: not to be had
    channel = Channel(socket.socket(fileno=descriptor))
    messages = channel.messages()
    begin = next(messages)
    _log(begin["log_level"], LogFormat(begin["log_format"]))
    inbox = Inbox(Path(begin["inbox"]), begin["minimum_free_bytes"])
    registry = _RemoteRegistry(channel)
    receiver = Receiver(node_of(begin["node"]), inbox, registry)
    channel.send({"kind": "ready"})
    for message in messages:
        kind = message["kind"]
        if kind == "serve":
            receiver.serve(channel.connection(), message["address"], message["number"])
        elif kind == "associate":
            registry.answered(message["number"], granted=message["granted"])
        elif kind == "move":
            channel.send({"kind": "moves"})
        elif kind == "end":
            receiver.end(message["number"], message["why"])
        elif kind == "stop":
            receiver.stop()
            logging.shutdown()
            os._exit(0)  # what still hangs is no reason to stay
    os._exit(1)  # the listener is gone


def _log(level: int, log_format: LogFormat) -> None:
    """Log as the listener does; also what ends a thread of pynetdicom's."""
    log_lines(level, log_format, part="receive")
    logging.getLogger("pynetdicom").setLevel(logging.WARNING)  # below, it repeats what peers send
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # it quotes values
    threading.excepthook = log_end_of_thread


if __name__ == "__main__":
    main(int(sys.argv[1]))
