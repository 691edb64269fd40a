"""C-STORE SCU: all results of a request in one association, each instance's status checked."""

from __future__ import annotations

import logging
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, SegmentationStorage
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.events import Event, EventHandlerType

from dicom_node.errors import PermanentDeliveryError, TransientDeliveryError
from dicom_node.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.log_text import quoted
from dicom_node.result_kinds import DEFAULT_KINDS, SOP_CLASSES, SegmentationEncoding
from dicom_node.send.delivery_status import DeliveryOutcome, meaning_of, rule_for
from dicom_node.send.offered_encoding import OfferedEncoding
from dicom_node.send.send_queue import SendQueue
from dicom_node.values import ResultKind, WrittenResult

_log = logging.getLogger(__name__)

_config.STORE_SEND_CHUNKED_DATASET = True  # files that are sent by their path are not read whole

_VERIFICATION = "1.2.840.10008.1.1"  # PS3.4 A.4
_A_ASSOCIATE_RJ = 0x03  # PDU type; result, source and reason are its bytes 8 to 10 (PS3.8 9.3.4)
# By source and reason (PS3.8 table 9-21)
_REJECTIONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_TOO_BUSY = 3  # the source of rejections that say nothing of us


@dataclass(frozen=True)
class DeliveryTimeouts:
    """How long a destination may keep us waiting, seconds.

    `connection_s` for TCP, `acse_s` for the answer to an association request or release, `dimse_s`
    for each instance's status (an archive may write tens of megabytes before it answers),
    `network_s` for silence on the line, also in the middle of what is sent or received.
    """

    connection_s: float = 10.0
    acse_s: float = 30.0
    dimse_s: float = 60.0
    network_s: float = 60.0


class DicomDestination:
    """A Destination reached by DICOM: `ae_title` at `host`:`port`; we are `calling_ae_title`.

    `name` is what the configuration and the record call it. `segmentation` is the encoding of a SEG
    that it is offered first; without it, BINARY. Every call opens and ends its own
    association, so one object may serve several threads.
    """

    def __init__(
        self,
        name: str,
        ae_title: str,
        host: str,
        port: int,
        calling_ae_title: str,
        timeouts: DeliveryTimeouts | None = None,
        *,
        kinds: Collection[ResultKind] = DEFAULT_KINDS,
        segmentation: SegmentationEncoding = SegmentationEncoding.BINARY,
    ) -> None:
        self._name = name
        self._encoding = OfferedEncoding(name, segmentation)
        self._kinds = tuple(kinds)
        self._ae_title, self._host, self._port = ae_title, host, port
        self._calling_ae_title = calling_ae_title
        self._timeouts = timeouts or DeliveryTimeouts()

    @property
    def name(self) -> str:
        """Name in configuration and in the record."""
        return self._name

    @property
    def kinds(self) -> tuple[ResultKind, ...]:
        """What it takes; results of other kinds are not sent to it."""
        return self._kinds

    def echo(self) -> None:
        """C-ECHO (PS3.4 annex A); raises DeliveryError in words an administrator can act on."""
        with self._associated([_VERIFICATION]) as association:
            try:
                status = association.send_c_echo()
            except (RuntimeError, ValueError) as error:
                raise self._later("ended the connection during the echo; see its log") from error
            if "Status" not in status:
                raise self._later("took the connection but did not answer the echo; see its log")
            if status.Status != 0x0000:
                raise self._never(
                    f"answered the echo with {meaning_of(status.Status)}", status.Status
                )

    def negotiate(self) -> None:
        """Propose what `send` would propose for one object of each of `kinds`; DeliveryError."""
        offer = self._encoding.contexts(self._kinds)
        with self._associated([SOP_CLASSES[kind] for kind in self._kinds], offer):
            pass

    def send(self, results: Sequence[WrittenResult]) -> str:
        """Send every result in one association and check every status; how segmentations went
        there, where another encoding than BINARY is configured.

        Nothing is sent unless the destination accepts every kind of object: a report without the
        segmentation it refers to helps nobody. Returns when all were taken (0x0000 or a warning);
        otherwise raises for the first that was not, TransientDeliveryError if worth another try,
        else PermanentDeliveryError. Sending the same again is harmless: the UIDs are the same.
        OSError when a result's file is gone.
        """
        if not results:
            return ""
        with TemporaryDirectory(prefix="segnode-") as folder:
            labelmaps = self._encoding.labelmaps(results, Path(folder))
            taken = self._send(results, labelmaps)
        return self._encoding.how(results, made=bool(labelmaps), taken=taken)

    def _send(self, results: Sequence[WrittenResult], labelmaps: Sequence[WrittenResult]) -> bool:
        """Send `labelmaps` if there are any and the peer takes their SEG, else `results`; whether
        the peer takes what was offered.
        """
        classes = list(dict.fromkeys(result.sop_class_uid for result in results))
        offer = self._encoding.contexts([result.kind for result in labelmaps])
        with self._associated(classes, offer) as association:
            taken = bool(offer) and set(offer) <= _accepted_pairs(association)
            for result in labelmaps if taken else results:
                self._store(association, result)
        _log.info("delivered %d results to %s", len(results), self._name)
        return taken

    def _store(self, association: Association, result: WrittenResult) -> None:
        """Send one C-STORE request and act on its status."""
        content = _as_accepted(association, result)
        try:
            answer = association.send_c_store(content)
        # pynetdicom: not established any more, or no context
        except (RuntimeError, ValueError) as error:
            raise self._later(
                f"ended the connection before the {result.kind} was sent; it is tried again"
            ) from error
        if "Status" not in answer:  # time-out, abort or an invalid answer
            raise self._later(
                f"gave no answer to the {result.kind}; see its log; it is tried again"
            )
        status = int(answer.Status)
        rule = rule_for(status)
        if rule.outcome is DeliveryOutcome.DELIVERED:
            if status != 0x0000:
                _log.warning(
                    "%s took %s with %s", self._name, result.sop_instance_uid, meaning_of(status)
                )
            return
        sentence = f"did not take the {result.kind}: {meaning_of(status)}: {rule.advice}"
        raise (self._later if rule.outcome is DeliveryOutcome.TRANSIENT else self._never)(
            sentence, status
        )

    @contextmanager
    def _associated(
        self, sop_classes: Sequence[str], offer: Sequence[tuple[str, str]] = ()
    ) -> Iterator[Association]:
        """An association in which every one of `sop_classes` was accepted, or, in place of
        Segmentation Storage, the `offer` of SOP classes and transfer syntaxes; released on leaving.
        """
        line = _AssociationTransport(self._timeouts.network_s)
        try:
            association = _entity(
                self._calling_ae_title, self._timeouts, sop_classes, offer
            ).associate(self._host, self._port, ae_title=self._ae_title, evt_handlers=line.handlers)
        except (socket.gaierror, UnicodeError) as error:
            # UnicodeError: no name at all, such as one with an empty part
            raise self._later(
                f"has the host '{quoted(self._host)}', which is no name that can be resolved here; "
                "is it written right, and does the name service know it"
            ) from error
        try:
            self._require_established(association, line)
            taken = bool(offer) and set(offer) <= _accepted_pairs(association)
            needless = {str(SegmentationStorage)} if taken else set()
            self._require_contexts(association, [c for c in sop_classes if c not in needless])
            association.dul.to_provider_queue = SendQueue(association.dul.is_alive)
            yield association
        finally:
            if association.is_established:
                association.release()

    def _require_established(self, association: Association, line: _AssociationTransport) -> None:
        """Raise what an administrator can act on: start it, admit us, or allow the object."""
        if association.is_established:
            return
        if line.rejection is not None:
            raise self._refused(*line.rejection)
        answer = association.acceptor.primitive
        if answer is not None and answer.result == 0x00 and association.rejected_contexts:
            raise self._unaccepted(
                [str(context.abstract_syntax) for context in association.rejected_contexts]
            )
        address = f"{self._host}:{self._port}"
        if line.opened:
            raise self._later(
                f"takes connections at {address} but agreed to no association; see its log, and "
                "whether that is its DICOM port"
            )
        raise self._later(f"cannot be reached at {address}; is it running, and is the port right")

    def _require_contexts(self, association: Association, sop_classes: Sequence[str]) -> None:
        accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
        missing = [sop_class for sop_class in sop_classes if sop_class not in accepted]
        if missing:
            raise self._unaccepted(missing)

    def _refused(self, source: int, reason: int) -> TransientDeliveryError:
        words = _REJECTIONS.get((source, reason), f"source {source}, reason {reason}")
        if source == _TOO_BUSY:
            return self._later(f"refused the association ({words}); it is tried again")
        return self._later(
            f"refused the association ({words}); it must know itself as {self._ae_title!r} "
            f"and us as {self._calling_ae_title!r}"
        )

    def _unaccepted(self, sop_classes: Sequence[str]) -> PermanentDeliveryError:
        names = ", ".join(dict.fromkeys(_named(sop_class) for sop_class in sop_classes))
        syntaxes = " or ".join(syntax.name for syntax in _SYNTAXES)
        return self._never(
            f"accepts no {names} as {syntaxes}; allow it there (what failed can then be retried), "
            "or leave it out of the destination's kinds"
        )

    def _later(self, what: str, status: int | None = None) -> TransientDeliveryError:
        return TransientDeliveryError(
            f"Destination {self._name} {what}.", destination=self._name, status=status
        )

    def _never(self, what: str, status: int | None = None) -> PermanentDeliveryError:
        return PermanentDeliveryError(
            f"Destination {self._name} {what}.", destination=self._name, status=status
        )


def _entity(
    calling_ae_title: str,
    timeouts: DeliveryTimeouts,
    sop_classes: Sequence[str],
    offer: Sequence[tuple[str, str]],
) -> AE:
    """Our entity, proposing each SOP class as stored and in the default syntax (PS3.5 10.1)."""
    entity = AE(ae_title=calling_ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.connection_timeout = timeouts.connection_s
    entity.acse_timeout = timeouts.acse_s
    entity.dimse_timeout = timeouts.dimse_s
    entity.network_timeout = timeouts.network_s
    for sop_class in sop_classes:
        # Two contexts rather than one of two syntaxes: a peer that prefers the default still
        # takes ours as stored
        for syntax in _SYNTAXES:
            entity.add_requested_context(sop_class, syntax)
    for sop_class, offered_syntax in offer:
        entity.add_requested_context(sop_class, offered_syntax)
    return entity


def _as_accepted(association: Association, result: WrittenResult) -> Path | Dataset:
    """The file, which is sent piece by piece as it is, where the peer takes its transfer syntax;
    else its data set, to be encoded anew.
    """
    syntax = read_file_meta_info(result.path).TransferSyntaxUID
    if (result.sop_class_uid, str(syntax)) in _accepted_pairs(association):
        return result.path
    return dcmread(result.path)


def _accepted_pairs(association: Association) -> set[tuple[str, str]]:
    """The SOP classes that the peer takes, each with a transfer syntax."""
    return {
        (str(context.abstract_syntax), str(syntax))
        for context in association.accepted_contexts
        for syntax in context.transfer_syntax
    }


class _AssociationTransport:
    """The transport of an association request: whether it opened, and any rejection.

    `source` and `reason` are the rejection's. No read or write waits longer than `stall_s`.

    pynetdicom's own `is_rejected` is not reliable: where the peer rejects and hangs up before its
    thread has read, it takes the closed line for one that never opened, and a rejection with a
    reserved code stops it before it is reported.
    """

    def __init__(self, stall_s: float) -> None:
        self._stall_s = stall_s
        self.opened = False
        self.rejection: tuple[int, int] | None = None
        self.handlers: list[EventHandlerType] = [
            (evt.EVT_CONN_OPEN, self._open),
            (evt.EVT_DATA_RECV, self._receive),
        ]

    def _open(self, event: Event) -> None:
        self.opened = True
        line = event.assoc.dul.socket
        if line is not None and line.socket is not None:
            # pynetdicom would wait for ever for the rest of a PDU, or for room to send on
            line.socket.settimeout(self._stall_s)

    def _receive(self, event: Event) -> None:
        pdu: bytes = event.data
        if pdu[0] == _A_ASSOCIATE_RJ and len(pdu) >= 10:
            self.rejection = pdu[8], pdu[9]


def _named(sop_class_uid: str) -> str:
    """A SOP class by name and UID: "Segmentation Storage (1.2.840.10008.5.1.4.1.1.66.4)"."""
    return f"{UID(sop_class_uid).name} ({sop_class_uid})"
