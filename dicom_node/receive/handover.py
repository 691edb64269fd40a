"""Associations for more than storage: pynetdicom serves them, behind the same bounds.

It never reads from the connection itself: it is given whole PDUs that were held against their
promised length and deadline. The data sets of C-STORE requests are taken out on the way and go into
files as on our own path; what pynetdicom sees of them is their end.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SOPClassCommonExtendedNegotiation
from pynetdicom.presentation import build_context
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class
from pynetdicom.transport import AddressInformation, AssociationSocket

from dicom_node.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.receive.application_entity import ApplicationEntity
from dicom_node.receive.errors import AssociationEnded, EndedByUs, PeerSilent, ProtocolError
from dicom_node.receive.limits import MAX_COMMAND_BYTES
from dicom_node.receive.upper_layer import commands, pdu
from dicom_node.receive.upper_layer.association import IdleTime, OnUse, StoreHandler, out_of_order
from dicom_node.receive.upper_layer.services import VERIFICATION, is_storage
from dicom_node.receive.upper_layer.wire import Wire
from dicom_node.statuses import SUCCESS

_STORAGE_SERVICE_CLASS = "1.2.840.10008.4.2"  # PS3.7 D.3.3.6
_MAX_IDENTIFIER_BYTES = 1 << 20  # of requests that are no C-STORE
_POLL_S, _END_S = 0.05, 5.0
_UNLIMITED = 1_000_000


class PynetdicomAssociation:
    """One association that pynetdicom serves. `body` is its A-ASSOCIATE-RQ without the header."""

    def __init__(
        self, wire: Wire, body: bytes, node: ApplicationEntity, store: StoreHandler, on_use: OnUse
    ) -> None:
        self._store = store
        self._messages = _CheckedPdus(wire, body, node, store, on_use)
        self._association = _new_association(node, self._messages, wire.socket, store.peer.address)
        self._messages.accepted = lambda: {
            context.context_id: context for context in self._association.accepted_contexts
        }
        for event, handler in (
            (evt.EVT_REQUESTED, _support_storage),
            (evt.EVT_SOP_COMMON, _storage_classes),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_ECHO, self._on_echo),
        ):
            self._association.bind(event, handler)
        self._on_use = on_use

    def serve(self) -> None:
        """Until the end. AssociationEnded when it did not end by a release."""
        association = self._association
        association.start()
        while association.is_alive():
            association.join(_POLL_S)
            if not association.dul.is_alive() and association.is_alive():
                # what it could not read has ended its network thread, and the other one waits for
                # that
                self._messages.fail(ProtocolError("a PDU could not be read"))
                association.kill()
                association.dul.to_user_queue.put(None)
        association.dul.kill_dul()
        association.dul.join(_END_S)
        self._store.discard()
        if self._messages.fault is not None:
            raise self._messages.fault

    def end(self, why: str) -> None:
        """Abort it, from another thread."""
        self._messages.end(why)

    def _on_store(self, event: Any) -> Dataset | int:  # noqa: ARG002 - pynetdicom's hook
        status, comment = self._messages.finish_store()
        if status == SUCCESS:
            return SUCCESS
        answer = Dataset()
        answer.Status, answer.ErrorComment = status, comment[:64]
        return answer

    def _on_echo(self, event: Any) -> int:  # noqa: ARG002 - pynetdicom's hook
        self._on_use(to_store=False)
        return SUCCESS


class _CheckedPdus:
    """The peer's PDUs, checked, as pynetdicom may have them. Read in its network thread."""

    def __init__(
        self, wire: Wire, body: bytes, node: ApplicationEntity, store: StoreHandler, on_use: OnUse
    ) -> None:
        self.fault: AssociationEnded | None = None
        self.accepted: Callable[[], dict[int, Any]] = dict  # pynetdicom's contexts by identifier
        self._wire, self._limits, self._store, self._on_use = wire, node.limits, store, on_use
        self._replayed = pdu.HEADER.pack(pdu.ASSOCIATE_RQ, len(body)) + body
        self._idle = IdleTime(node.limits)
        self._command_set = bytearray()
        self._command: commands.Command | None = None
        self._identifier_bytes = 0
        self._stored = threading.Event()  # no C-STORE waits for its status
        self._stored.set()

    def is_ready(self) -> bool:
        """Whether there is a PDU, or the end, to be read."""
        if self._replayed or self.fault or time.monotonic() > self._idle.deadline_s:
            return True
        if self._wire.has_rest():
            return True
        poll = select.poll()
        poll.register(self._wire.socket, select.POLLIN)
        return bool(poll.poll(0))

    def end(self, why: str) -> None:
        """Make the next read the last, and the present one, too."""
        self.fail(EndedByUs(why))
        self._wire.end(why)

    def fail(self, fault: AssociationEnded) -> None:
        """The association has ended, unless it has before."""
        self.fault = self.fault or fault

    def next_pdu(self) -> bytes:
        """A whole PDU; empty at the end of the connection, whoever ended it."""
        if self._replayed:
            replayed, self._replayed = self._replayed, b""
            return replayed
        try:
            if self.fault:
                raise self.fault
            return self._read_pdu()
        except AssociationEnded as fault:
            self.fault = fault
            return b""

    def finish_store(self) -> tuple[int, str]:
        """The status of the C-STORE whose data set has been read."""
        try:
            return self._store.finish()
        finally:
            self._idle.begin()
            self._stored.set()

    def _read_pdu(self) -> bytes:
        self._wire.deadline_s = self._idle.deadline_s
        self._wire.wait()
        self._wire.give(self._limits.stall_timeout_s)
        header = self._wire.take(pdu.HEADER.size)
        kind, length = pdu.HEADER.unpack(header)
        if length > self._limits.pdu_bytes:
            raise ProtocolError(f"a PDU of {length} bytes is longer than we announced")
        if kind != pdu.P_DATA_TF:
            return header + self._wire.take(length)
        values = b"".join(self._values(self._wire.take(length)))
        return pdu.HEADER.pack(kind, len(values)) + values

    def _values(self, body: bytes) -> list[bytes]:
        """The presentation data values of a P-DATA-TF PDU, without stored data sets."""
        values = []
        position = 0
        while position < len(body):
            if position + pdu.PDV_HEADER.size > len(body):
                raise ProtocolError("a presentation data value is cut off")
            length, context_id, flags = pdu.PDV_HEADER.unpack_from(body, position)
            end = position + 4 + length
            value = memoryview(body)[position + pdu.PDV_HEADER.size : end]
            if length < 2 or end > len(body):
                raise ProtocolError("a presentation data value does not fit into its PDU")
            if self._goes_on(context_id, flags, value):
                values.append(body[position:end])
            elif flags & pdu.IS_LAST:
                values.append(pdu.PDV_HEADER.pack(2, context_id, flags))
            position = end
        return values

    def _goes_on(self, context_id: int, flags: int, value: memoryview) -> bool:
        """Take note of a fragment; whether pynetdicom is to have its bytes."""
        if flags & pdu.IS_COMMAND:
            self._take_command(context_id, value, is_last=bool(flags & pdu.IS_LAST))
            return True
        if self._command is None:
            raise out_of_order("a data set comes without its command set")
        self._idle.progress(len(value))
        is_store = self._command.field == commands.C_STORE_RQ
        if is_store:
            self._store.take(value)
        else:
            self._identifier_bytes += len(value)
            if self._identifier_bytes > _MAX_IDENTIFIER_BYTES:
                raise out_of_order("the data set of a request is endless")
        if flags & pdu.IS_LAST:
            self._command = None
        return not is_store

    def _take_command(self, context_id: int, value: memoryview, *, is_last: bool) -> None:
        if self._command is not None:
            raise out_of_order("a command set begins within a message")
        self._command_set += value
        if len(self._command_set) > MAX_COMMAND_BYTES:
            raise out_of_order("a command set is endless")
        if not is_last:
            return
        command = commands.parse_command(bytes(self._command_set))
        self._command_set.clear()
        context = self.accepted().get(context_id)
        if context is None:
            raise ProtocolError(f"presentation context {context_id} was not accepted")
        if not command.has_dataset:
            return
        self._command, self._identifier_bytes = command, 0
        if command.field == commands.C_STORE_RQ:
            if not self._stored.wait(self._limits.stall_timeout_s):
                raise PeerSilent("the last instance has not been stored in time")
            self._stored.clear()
            self._on_use(to_store=True)
            self._store.begin(command, str(context.transfer_syntax[0]))


class _CheckedSocket(AssociationSocket):
    """pynetdicom's view of the connection: reads what was checked, and leaves the closing to us."""

    def __init__(self, association: Any, messages: _CheckedPdus, connection: socket.socket) -> None:
        self._messages, self._unread = messages, b""
        super().__init__(association, client_socket=connection)

    @property
    def ready(self) -> bool:
        """Whether there is something to be read."""
        return self.socket is not None and (bool(self._unread) or self._messages.is_ready())

    def recv(self, nr_bytes: int) -> bytearray:
        """The next bytes of a PDU; fewer at the end of the connection."""
        self._unread = self._unread or self._messages.next_pdu()
        pdu_bytes, self._unread = self._unread[:nr_bytes], self._unread[nr_bytes:]
        return bytearray(pdu_bytes)

    def _shutdown_socket(self) -> None:
        """Nothing: there may be last words."""


def _new_association(
    node: ApplicationEntity, messages: _CheckedPdus, connection: socket.socket, address: str
) -> Any:
    """An acceptor that has a connection and has not begun."""
    association: Any = Association(_entity(node), "acceptor")
    association.set_socket(_CheckedSocket(association, messages, connection))
    acceptor = association.acceptor
    acceptor.maximum_length = node.limits.pdu_bytes
    acceptor.ae_title = node.ae_title
    acceptor.address_info = AddressInformation.from_tuple(connection.getsockname())
    acceptor.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    acceptor.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    acceptor.supported_contexts = [build_context(VERIFICATION)]
    association.requestor.address_info = AddressInformation(address, 0)
    # these describe every PDU to a log that nobody reads
    for kind in (evt.EVT_PDU_RECV, evt.EVT_PDU_SENT, evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT):
        for handler, _ in list(association.get_handlers(kind)):
            association.unbind(kind, handler)
    return association


def _entity(node: ApplicationEntity) -> Any:
    """An application entity with our limits; those of pynetdicom stay out of the way."""
    entity = AE(node.ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.maximum_associations = _UNLIMITED
    entity.maximum_pdu_size = node.limits.pdu_bytes
    entity.acse_timeout = node.limits.request_timeout_s
    entity.network_timeout = None
    return entity


def _support_storage(event: Any) -> None:
    """Support every storage context that the peer asks for, in its first transfer syntax."""
    syntaxes: dict[UID, dict[UID, None]] = {}
    for context in event.assoc.requestor.primitive.presentation_context_definition_list:
        if context.abstract_syntax is not None and is_storage(context.abstract_syntax):
            proposed_syntaxes = syntaxes.setdefault(context.abstract_syntax, {})
            proposed_syntaxes.update(dict.fromkeys(context.transfer_syntax))
    event.assoc.acceptor.supported_contexts += [
        build_context(sop_class, list(proposed)) for sop_class, proposed in syntaxes.items()
    ]


def _storage_classes(event: Any) -> dict[UID, SOPClassCommonExtendedNegotiation]:
    """Tell pynetdicom which of the classes we accepted belong to the storage service.

    It does not know all of them itself.
    """
    class_items = {}
    for context in event.assoc.acceptor.supported_contexts:
        sop_class = context.abstract_syntax
        is_known_to_pynetdicom = uid_to_service_class(sop_class) is StorageServiceClass
        if is_storage(sop_class) and not is_known_to_pynetdicom:
            item = SOPClassCommonExtendedNegotiation()
            item.sop_class_uid = sop_class
            item.service_class_uid = _STORAGE_SERVICE_CLASS
            class_items[sop_class] = item
    return class_items
