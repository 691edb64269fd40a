"""An established association that only stores: fragments go into files, requests are answered.

One thread, one association. Memory: a block for the data set in flight and a command set, whatever
the peer sends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from dicom_node.arrivals import Arrival, StoreRequest
from dicom_node.errors import DicomNodeError
from dicom_node.log_text import quoted
from dicom_node.receive.errors import (
    BY_USER,
    REASON_NOT_SPECIFIED,
    UNEXPECTED_PDU,
    UNRECOGNIZED_PDU,
    PeerLost,
    PeerReleased,
    ProtocolError,
)
from dicom_node.receive.inbox import Inbox
from dicom_node.receive.incoming import IncomingDataset
from dicom_node.receive.limits import MAX_COMMAND_BYTES, MAX_DRAINED_BYTES, PeerLimits
from dicom_node.receive.upper_layer import commands, pdu
from dicom_node.receive.upper_layer.wire import Wire
from dicom_node.statuses import CANNOT_UNDERSTAND, SUCCESS, status_of

logger = logging.getLogger(__name__)

# a data set of which less comes within the idle time is no transfer but a place held
_LEAST_PROGRESS_BYTES = 1 << 16


@dataclass(frozen=True)
class Requestor:
    """Who is at the other end, and what it called us."""

    calling_ae_title: str
    called_ae_title: str
    address: str


class IdleTime:
    """The time by which a peer must have stored something; C-ECHO does not count.

    `deadline_s` is in seconds of time.monotonic and is checked between two PDUs.
    """

    def __init__(self, limits: PeerLimits) -> None:
        self._limits = limits
        self.deadline_s = 0.0
        self._progress_bytes = 0
        self.begin()

    def begin(self) -> None:
        """The association begins, or a request has been served."""
        self.deadline_s = time.monotonic() + self._limits.idle_timeout_s
        self._progress_bytes = 0

    def progress(self, count: int) -> None:
        """`count` bytes of a data set have come."""
        self._progress_bytes += count
        if self._progress_bytes >= _LEAST_PROGRESS_BYTES:
            self.begin()


class OnUse(Protocol):
    """Told what an association is used for."""

    def __call__(self, *, to_store: bool) -> None:
        """A C-STORE request, or a C-ECHO."""


class StoreHandler:
    """Handles C-STORE requests: each data set goes into the inbox and gets a status at the end.

    Both paths use it. `on_arrival` is told of every stored instance before its status is known to
    anybody. `stored` and `refused` count the requests that were answered.
    """

    def __init__(
        self, inbox: Inbox, peer: Requestor, on_arrival: Callable[[Arrival], None]
    ) -> None:
        self.peer = peer
        self.stored = self.refused = 0
        self._inbox, self._on_arrival = inbox, on_arrival
        self._incoming: IncomingDataset | None = None
        self._refusal: tuple[int, str] | None = None
        self._uid = ""
        self._passed_bytes = 0

    def begin(self, command: commands.Command, transfer_syntax_uid: str) -> None:
        """A request has come; its data set follows."""
        self._uid, self._passed_bytes = command.sop_instance_uid, 0
        request = StoreRequest(
            sop_class_uid=command.sop_class_uid,
            sop_instance_uid=command.sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            calling_ae_title=self.peer.calling_ae_title,
            calling_address=self.peer.address,
            called_ae_title=self.peer.called_ae_title,
        )
        try:
            self._incoming = self._inbox.begin(request)
        except Exception as error:  # noqa: BLE001 - the peer must get an answer, whatever it is
            self._refuse(error)

    def room(self) -> memoryview | None:
        """Where to put what comes next of the data set.

        None when the data set has been refused: its bytes are then skipped.
        """
        try:
            return self._incoming.room() if self._incoming else None
        except Exception as error:  # noqa: BLE001 - the peer must get an answer, whatever it is
            self._refuse(error)
            return None

    def received(self, count: int) -> None:
        """`count` bytes were put there."""
        if self._incoming:
            self._incoming.received(count)

    def passed_over(self, count: int) -> None:
        """`count` bytes belong to a data set that is not kept.

        ProtocolError when there is no end of them.
        """
        self._passed_bytes += count
        if self._passed_bytes > MAX_DRAINED_BYTES:
            raise out_of_order("a data set that was refused is endless")

    def take(self, data: memoryview) -> None:
        """Bytes of the data set that are in memory already."""
        while data:
            room = self.room()
            if room is None:
                self.passed_over(len(data))
                return
            count = min(len(room), len(data))
            room[:count] = data[:count]
            self.received(count)
            data = data[count:]

    def finish(self) -> tuple[int, str]:
        """The data set is whole: keep it. The status and comment to answer with."""
        try:
            if self._incoming:
                self._on_arrival(self._inbox.keep(self._incoming))
            elif not self._refusal:
                self._refusal = CANNOT_UNDERSTAND, "the request comes without a data set"
        except Exception as error:  # noqa: BLE001 - the peer must get an answer, whatever it is
            self._refuse(error)
        self.discard()
        refusal, self._refusal = self._refusal, None
        if refusal is None:
            self.stored += 1
        else:
            self.refused += 1
        return refusal or (SUCCESS, "")

    def discard(self) -> None:
        """Forget a data set that is not whole."""
        if self._incoming:
            self._incoming.discard()
            self._incoming = None

    def _refuse(self, error: Exception) -> None:
        uid = quoted(self._uid)
        if isinstance(error, DicomNodeError):
            logger.warning("instance %s was refused: %s", uid, error)
            self._refusal = status_of(error), str(error)
        else:
            logger.error("instance %s was not stored", uid, exc_info=error)
            self._refusal = status_of(error), "internal error, see the node's log"
        self.discard()


class StoringAssociation:
    """Serves one association until it ends.

    `serve` always ends with an AssociationEnded, which says how.

    `contexts` are those that were accepted, by their identifiers; `on_use` is told what each
    request is for.
    """

    def __init__(
        self,
        wire: Wire,
        contexts: Mapping[int, pdu.AnsweredContext],
        peer_pdu_bytes: int,
        limits: PeerLimits,
        store: StoreHandler,
        *,
        on_use: OnUse,
    ) -> None:
        self._wire, self._contexts, self._limits = wire, contexts, limits
        self._peer_pdu_bytes = peer_pdu_bytes
        self._store, self._on_use = store, on_use
        self._idle = IdleTime(limits)
        self._context_id = 0
        self._command_set = bytearray()
        self._command: commands.Command | None = None  # whose data set is being read

    def serve(self) -> None:
        """Until the end."""
        try:
            while True:
                self._wire.deadline_s = self._idle.deadline_s
                self._wire.wait()
                self._wire.give(self._limits.stall_timeout_s)
                self._read_pdu()
        finally:
            self._store.discard()

    def _read_pdu(self) -> None:
        kind, length = pdu.HEADER.unpack(self._wire.take(pdu.HEADER.size))
        if kind == pdu.P_DATA_TF:
            if length > self._limits.pdu_bytes:
                raise ProtocolError(f"a PDU of {length} bytes is longer than we announced")
            self._read_values(length)
        elif kind == pdu.RELEASE_RQ:
            raise PeerReleased("released")
        elif kind == pdu.ABORT:
            raise PeerLost("aborted by the peer")
        elif pdu.ASSOCIATE_RQ <= kind <= pdu.RELEASE_RP:
            raise ProtocolError(f"a PDU of type {kind} has no place here", reason=UNEXPECTED_PDU)
        else:
            raise ProtocolError(f"there is no PDU of type {kind}", reason=UNRECOGNIZED_PDU)

    def _read_values(self, length: int) -> None:
        """The presentation data values of a P-DATA-TF PDU of `length` bytes (PS3.8 9.3.5)."""
        while length:
            if length < pdu.PDV_HEADER.size:
                raise ProtocolError("a presentation data value is cut off")
            value_length, context_id, flags = pdu.PDV_HEADER.unpack(
                self._wire.take(pdu.PDV_HEADER.size)
            )
            size = value_length - 2
            length -= pdu.PDV_HEADER.size + size
            if size < 0 or length < 0:
                raise ProtocolError("a presentation data value does not fit into its PDU")
            if context_id not in self._contexts:
                raise ProtocolError(f"presentation context {context_id} was not accepted")
            if flags & pdu.IS_COMMAND:
                self._read_command(context_id, size, is_last=bool(flags & pdu.IS_LAST))
            else:
                self._read_dataset(context_id, size, is_last=bool(flags & pdu.IS_LAST))

    def _read_command(self, context_id: int, size: int, *, is_last: bool) -> None:
        if self._command or (self._command_set and context_id != self._context_id):
            raise out_of_order("a command set begins within a message")
        if len(self._command_set) + size > MAX_COMMAND_BYTES:
            raise out_of_order("a command set is endless")
        self._context_id = context_id
        self._command_set += self._wire.take(size)
        if not is_last:
            return
        command = commands.parse_command(bytes(self._command_set))
        self._command_set.clear()
        if not command.has_dataset:
            self._answer_without_dataset(command)
            return
        self._command = command
        if command.field == commands.C_STORE_RQ:
            self._on_use(to_store=True)
            self._store.begin(command, self._contexts[context_id].transfer_syntax)

    def _read_dataset(self, context_id: int, size: int, *, is_last: bool) -> None:
        if not self._command or context_id != self._context_id:
            raise out_of_order("a data set comes without its command set")
        self._idle.progress(size)
        while size:
            room = self._store.room()
            if room is None:
                self._store.passed_over(size)
                self._wire.skip(size)
                break
            count = min(size, len(room))
            self._wire.read_into(room[:count])
            self._store.received(count)
            size -= count
        if is_last:
            command, self._command = self._command, None
            self._answer_with_dataset(command)

    def _answer_without_dataset(self, command: commands.Command) -> None:
        if command.field == commands.C_ECHO_RQ:
            self._on_use(to_store=False)
            self._reply(commands.response_to(command))
        elif command.field == commands.C_STORE_RQ:
            status, comment = self._store.finish()
            self._reply(commands.response_to(command, status, comment))
        elif command.is_request:
            self._reply(commands.response_to(command, commands.UNRECOGNIZED_OPERATION))

    def _answer_with_dataset(self, command: commands.Command) -> None:
        if command.field == commands.C_STORE_RQ:
            status, comment = self._store.finish()
            self._reply(commands.response_to(command, status, comment))
            self._idle.begin()
        elif command.is_request:
            self._reply(commands.response_to(command, commands.UNRECOGNIZED_OPERATION))

    def _reply(self, response: bytes) -> None:
        self._wire.send(pdu.p_data(self._context_id, response, self._peer_pdu_bytes))


def out_of_order(text: str) -> ProtocolError:
    """A message that the upper layer cannot object to, but we do."""
    return ProtocolError(text, source=BY_USER, reason=REASON_NOT_SPECIFIED)
