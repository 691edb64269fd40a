"""The Storage SCP: peers connect, their instances go to the inbox, every request gets a named status.

Any storage SOP class and any transfer syntax is taken as it is proposed: what a peer may send is decided association by
association from what it asks for, so private classes and those newer than any table of ours are kept too. Nothing is decoded here.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import SOPClassCommonExtendedNegotiation
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

from dicom_node.association_server import AssociationServer
from dicom_node.errors import DicomNodeError
from dicom_node.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.inbox import Inbox, Sent
from dicom_node.ports import ArrivalObserver
from dicom_node.statuses import SUCCESS, status_of

logger = logging.getLogger(__name__)

_VERIFICATION = "1.2.840.10008.1.1"  # PS3.4 A.4
_STORAGE_SERVICE_CLASS = "1.2.840.10008.4.2"  # PS3.7 D.3.3.6
# PS3.8 table 9-21: result, source, reason
_CALLING_AE_TITLE_NOT_RECOGNIZED = (1, 1, 3)
_LOCAL_LIMIT_EXCEEDED = (2, 3, 2)

_CONNECTIONS_PER_ASSOCIATION = 4
_UNLIMITED = 1_000_000


@dataclass(frozen=True)
class Limits:
    """What peers may take of us.

    `associations` at once, refused with "local limit exceeded" above; `request_timeout_s` to ask for one after connecting
    (ARTIM, PS3.8 9.1.5); `idle_timeout_s` without a request before we abort; `stall_timeout_s` in the middle of a PDU;
    `pdu_bytes` a PDU we ask peers to stay below, 0 for any size: few large ones are much faster here.
    """

    associations: int = 25
    request_timeout_s: float = 10.0
    idle_timeout_s: float = 120.0
    stall_timeout_s: float = 30.0
    pdu_bytes: int = 0


class Listener:
    """Accepts associations between `start` and `stop`; also a context manager.

    Peers must call us `ae_title`. `allow` names the calling AE titles and the addresses that may connect, empty for any.
    Port 0 takes a free one: `port` tells which. `observer` is told of every association and every stored instance before
    the peer has its answer; what it raises is logged and changes nothing. `on_tick` is called by the loop that accepts
    connections, a few times a second: while it is not, nobody gets in.
    """

    def __init__(
        self,
        ae_title: str,
        host: str,
        port: int,
        inbox: Inbox,
        observer: ArrivalObserver,
        *,
        allow: Collection[str] = (),
        limits: Limits | None = None,
        on_tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._address = (host, port)
        self._inbox, self._observer = inbox, observer
        self._allow = frozenset(allow)
        self._limits, self._on_tick = limits or Limits(), on_tick
        self._entity = self._make_entity(ae_title)
        self._server: AssociationServer | None = None
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, str] = {}

    @property
    def port(self) -> int:
        """The TCP port that is listened on; RuntimeError when it is not."""
        if self._server is None:
            raise RuntimeError("the listener has not been started")
        return int(self._server.server_address[1])

    @property
    def open_associations(self) -> int:
        """Associations that are established now."""
        with self._lock:
            return len(self._open)

    def start(self) -> None:
        """Clear away what a crash left half-written and listen. OSError when the port is taken."""
        self._inbox.sweep()
        handlers: list[tuple[Any, Callable[[Any], Any]]] = [
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_SOP_COMMON, _storage_classes),
            (evt.EVT_ESTABLISHED, self._on_established),
            (evt.EVT_C_STORE, self._on_store),
        ]
        self._server = self._entity.make_server(
            self._address,
            evt_handlers=handlers,
            server_class=AssociationServer,
            stall_timeout_s=self._limits.stall_timeout_s,
            most_connections=_CONNECTIONS_PER_ASSOCIATION * self._limits.associations,
            on_tick=self._tick,
        )
        self._server.start()
        logger.info("listening as %s on port %d", self._entity.ae_title, self.port)

    def stop(self) -> None:
        """Accept nothing more, abort what is open and return when every association has ended."""
        if self._server is not None:
            self._server.stop()
            self._close_ended()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _make_entity(self, ae_title: str) -> Any:
        """An application entity that knows C-ECHO; storage is added for each association."""
        entity = AE(ae_title)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.require_called_aet = True
        entity.maximum_associations = _UNLIMITED  # silent connections would count too: see _refusal
        entity.maximum_pdu_size = self._limits.pdu_bytes
        entity.acse_timeout = self._limits.request_timeout_s
        entity.network_timeout = self._limits.idle_timeout_s
        entity.add_supported_context(_VERIFICATION)
        return entity

    def _on_requested(self, event: Any) -> None:
        """Turn away whom we must; of the others, support every storage context they ask for."""
        association = event.assoc
        peer = association.requestor
        title = str(peer.primitive.calling_ae_title).strip()
        refusal = self._refusal(title, peer.address)
        if refusal is not None:
            logger.warning("association of %s at %s rejected: %s", title, peer.address, refusal)
            association.acse.send_reject(*refusal)
            association.kill()
            return
        proposed = peer.primitive.presentation_context_definition_list
        association.acceptor.supported_contexts += _storage_contexts(proposed)

    def _refusal(self, title: str, address: str) -> tuple[int, int, int] | None:
        """Why a peer is turned away, if it is: result, source and reason."""
        if self._allow and not self._allow & {title, address}:
            return _CALLING_AE_TITLE_NOT_RECOGNIZED
        if self.open_associations >= self._limits.associations:
            return _LOCAL_LIMIT_EXCEEDED
        return None

    def _on_established(self, event: Any) -> None:
        """An association begins: it has a name from here on."""
        association, name = event.assoc, uuid.uuid4().hex
        peer = association.requestor
        logger.info("association %s opened by %s at %s", name, peer.ae_title, peer.address)
        with self._lock:
            self._open[association] = name
        self._tell(self._observer.association_opened, name)

    def _on_store(self, event: Any) -> Dataset | int:
        """Keep an instance and say so, or name what went wrong. Nothing is raised into the network."""
        sent = _sent(event)
        try:
            arrival = self._inbox.store(event.request.DataSet.getbuffer(), sent)
        except DicomNodeError as error:
            logger.warning("instance %s was refused: %s", sent.sop_instance_uid, error)
            return _answer(status_of(error), str(error))
        except Exception as error:  # the thread's boundary: the peer must get an answer
            logger.exception("instance %s was not stored", sent.sop_instance_uid)
            return _answer(status_of(error), "internal error, see the node's log")
        self._tell(self._observer.arrived, self._open[event.assoc], arrival)
        return SUCCESS

    def _tick(self) -> None:
        self._on_tick()
        self._close_ended()

    def _close_ended(self) -> None:
        """Tell of associations whose thread has ended, however that came about: release, abort, lost peer or fault."""
        with self._lock:
            ended = [thread for thread in self._open if not thread.is_alive()]
            names = [self._open.pop(thread) for thread in ended]
        for name in names:
            logger.info("association %s closed", name)
            self._tell(self._observer.association_closed, name)

    def _tell(self, notify: Callable[..., None], *what: object) -> None:
        """Call the observer."""
        try:
            notify(*what)
        except Exception:  # the observer's boundary: its faults must cost no instance and no answer
            logger.exception("the observer of arrivals failed")


def _sent(event: Any) -> Sent:
    """What a C-STORE request says of its instance."""
    peer = event.assoc.requestor
    return Sent(
        sop_class_uid=str(event.request.AffectedSOPClassUID),
        sop_instance_uid=str(event.request.AffectedSOPInstanceUID),
        transfer_syntax_uid=str(event.context.transfer_syntax),
        calling_ae_title=str(peer.ae_title).strip(),
        calling_address=str(peer.address),
        called_ae_title=str(event.assoc.acceptor.ae_title).strip(),
    )


def _answer(status: int, comment: str) -> Dataset:
    """A status with its Error Comment (PS3.7 C.5; at most 64 characters)."""
    answer = Dataset()
    answer.Status = status
    answer.ErrorComment = comment[:64]
    return answer


def _is_storage(sop_class_uid: UID) -> bool:
    """Whether a SOP class is a storage class, or none that anyone knew when pydicom's dictionary was made."""
    if sop_class_uid.name == sop_class_uid:
        return True
    name = sop_class_uid.name
    return sop_class_uid.type == "SOP Class" and "Storage" in name and "Commitment" not in name


def _storage_contexts(proposed: list[PresentationContext]) -> list[PresentationContext]:
    """Contexts to support so that everything proposed for storage is accepted in the peer's first transfer syntax."""
    syntaxes: dict[UID, dict[UID, None]] = {}
    for context in proposed:
        sop_class = context.abstract_syntax
        if sop_class is not None and _is_storage(sop_class):
            wanted = syntaxes.setdefault(sop_class, {})
            wanted.update(dict.fromkeys(context.transfer_syntax))
    return [build_context(sop_class, list(wanted)) for sop_class, wanted in syntaxes.items()]


def _storage_classes(event: Any) -> dict[UID, SOPClassCommonExtendedNegotiation]:
    """Tell pynetdicom that what we accepted belongs to the storage service, where it does not know so itself."""
    found = {}
    for context in event.assoc.acceptor.supported_contexts:
        sop_class = context.abstract_syntax
        known = uid_to_service_class(sop_class) is StorageServiceClass
        if _is_storage(sop_class) and not known:
            item = SOPClassCommonExtendedNegotiation()
            item.sop_class_uid = sop_class
            item.service_class_uid = _STORAGE_SERVICE_CLASS
            found[sop_class] = item
    return found
