"""Connections from their first byte to their last: one thread each, one process's share of them.

Every connection is first read here. What asks for storage and verification alone is served here,
too; the rest goes to pynetdicom, with what was read already (handover.py), and only then is that
loaded.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable
from typing import Protocol

from dicom_node.arrivals import Arrival
from dicom_node.log_text import quoted
from dicom_node.receive.application_entity import ApplicationEntity
from dicom_node.receive.errors import (
    BY_USER,
    REASON_NOT_SPECIFIED,
    UNEXPECTED_PDU,
    UNRECOGNIZED_PDU,
    AssociationEnded,
    EndedByUs,
    PeerReleased,
    PeerSilent,
    ProtocolError,
)
from dicom_node.receive.inbox import Inbox
from dicom_node.receive.limits import MAX_REQUEST_BYTES
from dicom_node.receive.upper_layer import pdu
from dicom_node.receive.upper_layer.association import Requestor, StoreHandler, StoringAssociation
from dicom_node.receive.upper_layer.services import VERIFICATION, is_storage
from dicom_node.receive.upper_layer.wire import Wire

logger = logging.getLogger(__name__)

_END_S = 10.0


class ConnectionRegistry(Protocol):
    """Decides about associations and is told what happens on each connection.

    Connections are known by their numbers, associations by their names.
    """

    def associate(self, number: int, name: str) -> bool:
        """Whether a connection may have an association.

        If so, the observer has been told when this returns.
        """

    def used(self, number: int, *, to_store: bool) -> None:
        """What an association is used for: C-ECHO or C-STORE. It is called once for each."""

    def arrived(self, number: int, name: str, arrival: Arrival) -> None:
        """An instance is on disk."""

    def dissociate(self, number: int) -> None:
        """The association has ended; nothing if there was none."""

    def leave(self, number: int) -> None:
        """The connection is closed."""


class Receiver:
    """Serves connections until `stop`."""

    def __init__(self, node: ApplicationEntity, inbox: Inbox, registry: ConnectionRegistry) -> None:
        self._node, self._inbox, self._registry = node, inbox, registry
        self._lock = threading.Lock()
        self._open: dict[int, tuple[threading.Thread, _ServedConnection]] = {}

    def start(self) -> None:
        """Nothing: a receiver begins with its first connection."""

    def serve(self, connection: socket.socket, address: str, number: int) -> None:
        """Take a connection over: it is served in a thread of its own and closed at the end."""
        limits = self._node.limits
        shortest_s = min(limits.request_timeout_s, limits.idle_timeout_s, limits.stall_timeout_s)
        wire = Wire(connection, limits.stall_timeout_s, shortest_s / 4)
        served = _ServedConnection(
            self._node,
            self._inbox,
            self._registry,
            wire,
            peer=Requestor("", "", address),
            number=number,
        )
        thread = threading.Thread(
            target=self._run, args=(served, number), name=f"connection {number}", daemon=True
        )
        with self._lock:
            self._open[number] = thread, served
        thread.start()

    def end(self, number: int, why: str) -> None:
        """End a connection soon; nothing if it has ended."""
        with self._lock:
            _, served = self._open.get(number, (None, None))
        if served:
            served.end(why)

    def moved_s(self) -> float:
        """Now: a receiver in the process of its listener moves when that does."""
        return time.monotonic()

    def stop(self) -> None:
        """End everything and return when that has happened, or after some seconds."""
        with self._lock:
            everything = list(self._open.values())
        for _, served in everything:
            served.end("the node stops")
        for thread, _ in everything:
            thread.join(_END_S)

    def _run(self, served: _ServedConnection, number: int) -> None:
        try:
            served.run()
        except Exception:  # the thread's boundary: a fault of ours costs one connection
            logger.exception("a connection ended by a fault")
        finally:
            with self._lock:
                self._open.pop(number, None)


class _ServedConnection:
    """One connection."""

    def __init__(
        self,
        node: ApplicationEntity,
        inbox: Inbox,
        registry: ConnectionRegistry,
        wire: Wire,
        *,
        peer: Requestor,
        number: int,
    ) -> None:
        self._node, self._inbox, self._registry = node, inbox, registry
        self._wire, self._peer, self._number = wire, peer, number
        self._name = ""
        self._granted_s = 0.0
        self._store: StoreHandler | None = None
        self._used: set[bool] = set()
        self._end: Callable[[str], None] = wire.end

    def end(self, why: str) -> None:
        """End it soon, from another thread."""
        self._end(why)

    def run(self) -> None:
        """From the request for an association to the end."""
        last_words = b""
        try:
            last_words = self._serve()
        except ProtocolError as error:
            self._tell_end(error)
            last_words = pdu.abort(error.source, error.reason)
        except (PeerSilent, EndedByUs) as error:
            self._tell_end(error)
            if self._name:  # before, there is nothing to abort (PS3.8 9.2, state 2)
                last_words = pdu.abort(BY_USER, REASON_NOT_SPECIFIED)
        except PeerReleased:
            last_words = pdu.RELEASE_REPLY
        except AssociationEnded as error:
            self._tell_end(error)
        finally:
            self._close(last_words)

    def _close(self, last_words: bytes) -> None:
        if self._store:  # first: who hears that it is over may come again at once
            logger.info(
                "association %s of %s at %s closed: %d stored, %d refused in %.1f s",
                self._name,
                quoted(self._peer.calling_ae_title),
                self._peer.address,
                self._store.stored,
                self._store.refused,
                time.monotonic() - self._granted_s,
            )
        self._registry.dissociate(self._number)
        self._wire.hang_up(last_words)
        self._registry.leave(self._number)

    def _serve(self) -> bytes:
        """Serve the association that is asked for; what to say to a peer that gets none."""
        self._wire.give(self._node.limits.request_timeout_s)
        body = self._read_request()
        request = pdu.parse_request(body)
        self._peer = Requestor(
            request.calling_ae_title, request.called_ae_title, self._peer.address
        )
        name = uuid.uuid4().hex
        rejection = self._rejection(request)
        if rejection is None and not self._registry.associate(self._number, name):
            rejection = pdu.LOCAL_LIMIT_EXCEEDED
        title, address = quoted(request.calling_ae_title), self._peer.address
        if rejection is not None:
            logger.warning("association of %s at %s rejected: %s", title, address, rejection)
            return pdu.reject(rejection)
        self._name, self._granted_s = name, time.monotonic()
        logger.info("association %s opened by %s at %s", name, title, address)
        store = self._store = StoreHandler(self._inbox, self._peer, self._arrived)
        if self._node.reference or not all(map(_is_ours, request.contexts)):
            self._hand_over(body, store)
            return b""
        answers = [pdu.answer(context, supported=True) for context in request.contexts]
        limits = self._node.limits
        self._wire.send(pdu.accept(request, answers, limits.pdu_bytes))
        accepted = {a.context_id: a for a in answers if a.result == pdu.ACCEPTED}
        StoringAssociation(
            self._wire, accepted, request.pdu_bytes, limits, store, on_use=self._use
        ).serve()
        raise AssertionError("an association was served and has not ended")

    def _read_request(self) -> bytes:
        """The A-ASSOCIATE-RQ without its header, within its time."""
        kind, length = pdu.HEADER.unpack(self._wire.take(pdu.HEADER.size))
        if kind != pdu.ASSOCIATE_RQ:
            exists = pdu.ASSOCIATE_RQ <= kind <= pdu.ABORT
            raise ProtocolError(
                f"the first PDU is of type {kind}",
                reason=UNEXPECTED_PDU if exists else UNRECOGNIZED_PDU,
            )
        if length > MAX_REQUEST_BYTES:
            raise ProtocolError(f"a request for an association of {length} bytes is too long")
        return self._wire.take(length)

    def _rejection(self, request: pdu.AssociateRequest) -> pdu.Rejection | None:
        """Why a peer is turned away, if it is."""
        if fault := pdu.fault_of(request):
            return fault
        if not self._node.allowed.allows(request.calling_ae_title, self._peer.address):
            return pdu.CALLING_AE_TITLE_NOT_RECOGNIZED
        if request.called_ae_title != self._node.ae_title.strip():
            return pdu.CALLED_AE_TITLE_NOT_RECOGNIZED
        return None

    def _hand_over(self, body: bytes, store: StoreHandler) -> None:
        from dicom_node.receive.handover import PynetdicomAssociation

        association = PynetdicomAssociation(self._wire, body, self._node, store, self._use)
        self._end = association.end
        association.serve()

    def _use(self, *, to_store: bool) -> None:
        if to_store not in self._used:
            self._used.add(to_store)
            self._registry.used(self._number, to_store=to_store)

    def _arrived(self, arrival: Arrival) -> None:
        self._registry.arrived(self._number, self._name, arrival)

    def _tell_end(self, error: AssociationEnded) -> None:
        who = f"association {self._name}" if self._name else f"connection from {self._peer.address}"
        level = (
            logging.DEBUG
            if not self._name and not isinstance(error, ProtocolError)
            else logging.WARNING
        )
        logger.log(level, "%s ended: %s", who, error)


def _is_ours(context: pdu.ProposedContext) -> bool:
    """Whether a context is for what we serve ourselves."""
    return context.abstract_syntax == VERIFICATION or is_storage(context.abstract_syntax)
