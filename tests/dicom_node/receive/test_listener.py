"""The listener over real sockets: what is taken, what it is answered with, and that it is on disk
by then.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.dsutils import split_dataset

from dicom_node.arrivals import Arrival, KeptAs
from dicom_node.errors import (
    DicomNodeError,
    InboxError,
    StorageFull,
    UnreadableDataset,
    WrongUids,
)
from dicom_node.fakes import RecordingObserver
from dicom_node.receive.inbox import Inbox
from dicom_node.receive.incoming import IncomingDataset
from dicom_node.receive.limits import PeerLimits
from dicom_node.receive.listener import Listener
from tests.dicom_node.conftest import Sender

PRIVATE_SYNTAX = "1.2.840.113619.5.2"


def body(path: Path) -> bytes:
    """The data set's bytes in a file."""
    _, offset = split_dataset(path)
    return path.read_bytes()[offset:]


def test_echo_is_answered(listening: Callable[..., Listener]) -> None:
    entity = AE("SCU")
    entity.add_requested_context("1.2.840.10008.1.1")

    association = entity.associate("127.0.0.1", listening().port, ae_title="SEGNODE")
    status = association.send_c_echo()
    association.release()

    assert status.Status == 0x0000


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        JPEG2000Lossless,
        "1.2.840.10008.1.2.4.205",
        PRIVATE_SYNTAX,
    ],
)
def test_every_transfer_syntax_is_stored_bit_for_bit(
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    observer: RecordingObserver,
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
    syntax: str,
) -> None:
    deflated = {DeflatedExplicitVRLittleEndian, "1.2.840.10008.1.2.4.205"}
    encoded_as = {PRIVATE_SYNTAX: ImplicitVRLittleEndian}.get(syntax, syntax)
    encoded_as = DeflatedExplicitVRLittleEndian if syntax in deflated else encoded_as
    data = as_sent(dataset := ct(), encoded_as)

    with sending(listening().port, CTImageStorage, transfer_syntax=syntax) as sender:
        response = sender.store(data, dataset.SOPInstanceUID)

    ((_, arrival),) = observer.arrivals
    assert response.Status == 0x0000
    assert body(arrival.instance.path) == data
    assert read_file_meta_info(arrival.instance.path).TransferSyntaxUID == syntax


@pytest.mark.filterwarnings("ignore")  # of odd values, in the reference reader
def test_real_odd_files_are_stored_bit_for_bit(
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    observer: RecordingObserver,
    shared_data: Path,
) -> None:
    port, sent = listening().port, {}
    for path in sorted((shared_data / "odd_dicom").rglob("*.dcm")):
        header = dcmread(path, stop_before_pixels=True, force=True)
        syntax = header.get("file_meta", {}).get("TransferSyntaxUID")
        if not (header.get("SeriesInstanceUID") and header.get("SOPClassUID") and syntax):
            continue
        with sending(port, header.SOPClassUID, transfer_syntax=syntax) as sender:
            response = sender.store(body(path), header.SOPInstanceUID, header.SOPClassUID)
        assert response.Status == 0x0000, path.name
        sent[path] = observer.arrivals[-1][1].instance

    assert len(sent) > 30
    for path, instance in sent.items():
        assert body(instance.path) == body(path), path.name


def test_all_storage_classes_and_ones_that_nobody_knows_are_accepted(
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    observer: RecordingObserver,
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
) -> None:
    port = listening().port
    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    strange = ["1.2.826.0.1.3680043.9.9999.1", "1.2.840.10008.5.1.4.1.1.999.1"]
    retired = ["1.2.840.10008.5.1.4.1.1.6"]  # Ultrasound Image Storage of 1993
    wanted = [*strange, *retired, *classes]
    data = as_sent(dataset := ct(SOPClassUID=None))
    stored = []

    for batch in (wanted[:100], wanted[100:]):
        with sending(port, *batch) as sender:
            accepted = {str(c.abstract_syntax) for c in sender.association.accepted_contexts}
            assert accepted == set(batch)
            stored += [sender.store(data, dataset.SOPInstanceUID, c).Status for c in batch[:3]]

    assert stored == [0x0000] * 6
    assert observer.arrivals[0][1].instance.sop_class_uid == strange[0]


@pytest.mark.parametrize(
    "sop_class",
    [
        "1.2.840.10008.5.1.4.1.2.2.1",  # Study Root Query/Retrieve - FIND
        "1.2.840.10008.5.1.4.31",  # Modality Worklist - FIND
        "1.2.840.10008.1.20.1",  # Storage Commitment Push Model
        "1.2.840.10008.5.1.1.9",  # Basic Grayscale Print Management
    ],
)
def test_services_that_are_not_ours_are_not_accepted(
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    sop_class: str,
) -> None:
    with sending(listening().port, CTImageStorage, sop_class) as sender:
        accepted = [str(c.abstract_syntax) for c in sender.association.accepted_contexts]

    assert accepted == [CTImageStorage]


def test_each_context_gets_the_first_syntax_that_its_peer_proposed(
    listening: Callable[..., Listener],
) -> None:
    entity = AE("SCU")
    entity.add_requested_context(CTImageStorage, [JPEG2000Lossless, ExplicitVRLittleEndian])
    entity.add_requested_context(MRImageStorage, [ImplicitVRLittleEndian, PRIVATE_SYNTAX])

    association = entity.associate("127.0.0.1", listening().port, ae_title="SEGNODE")
    chosen = [c.transfer_syntax[0] for c in association.accepted_contexts]
    association.release()

    assert chosen == [JPEG2000Lossless, ImplicitVRLittleEndian]


class Disk(Inbox):
    """An inbox that asks the test before it keeps anything."""

    def __init__(self, root: Path, instead: Callable[[], None]) -> None:
        super().__init__(root)
        self._instead = instead

    def keep(self, incoming: IncomingDataset) -> Arrival:
        """Whatever the test does, then the real thing."""
        self._instead()
        return super().keep(incoming)


def test_success_is_answered_only_when_the_file_is_whole(
    tmp_path: Path,
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
) -> None:
    inbox = Inbox(tmp_path / "inbox")
    data = as_sent(dataset := ct(PixelData=os.urandom(1 << 20)))

    with sending(listening(inbox=inbox).port) as sender:
        response = sender.store(data, dataset.SOPInstanceUID)
        (instance,) = inbox.instances(dataset.StudyInstanceUID)
        stored = body(instance.path)

    assert response.Status == 0x0000
    assert stored == data


@pytest.mark.parametrize(
    ("error", "status", "comment"),
    [
        (StorageFull("no room left"), 0xA700, "no room left"),
        (InboxError("the storage volume failed"), 0xA700, "the storage volume failed"),
        (WrongUids("data set and request differ"), 0xA900, "data set and request differ"),
        (UnreadableDataset("no usable UID"), 0xC000, "no usable UID"),
        (DicomNodeError("something else"), 0x0110, "something else"),
        (OSError(errno.EIO, "unforeseen"), 0x0110, "internal error, see the node's log"),
        (ZeroDivisionError("a fault of ours"), 0x0110, "internal error, see the node's log"),
        (InboxError("x" * 100), 0xA700, "x" * 64),
    ],
)
def test_every_failure_reaches_the_peer_as_its_status(
    tmp_path: Path,
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    observer: RecordingObserver,
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
    error: Exception,
    status: int,
    comment: str,
) -> None:
    failing = True

    def fail() -> None:
        if failing:
            raise error

    data = as_sent(dataset := ct())
    with sending(listening(inbox=Disk(tmp_path / "inbox", fail)).port) as sender:
        refused = sender.store(data, dataset.SOPInstanceUID)
        failing = False
        taken = sender.store(data, dataset.SOPInstanceUID)  # the association lives on

    assert (refused.Status, refused.ErrorComment) == (status, comment)
    assert taken.Status == 0x0000
    assert len(observer.arrivals) == 1


@pytest.mark.parametrize(
    ("elements", "request_uid", "status"),
    [
        ({"StudyInstanceUID": ""}, None, 0xC000),
        ({"SeriesInstanceUID": None}, None, 0xC000),
        ({"SOPInstanceUID": "1.2.3"}, "1.2.4", 0xA900),
        ({"SOPClassUID": MRImageStorage}, None, 0xA900),
        ({"SOPInstanceUID": None}, "1.2.4", 0x0000),
    ],
)
def test_uids_that_are_missing_or_wrong(
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    inbox: Inbox,
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
    elements: dict[str, Any],
    request_uid: str | None,
    status: int,
) -> None:
    dataset = ct(**elements)

    with sending(listening().port) as sender:
        response = sender.store(as_sent(dataset), request_uid or dataset.SOPInstanceUID)

    assert response.Status == status
    assert len(inbox.studies()) == (1 if status == 0x0000 else 0)


def test_bytes_that_are_no_data_set_are_answered_with_cannot_understand(
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    inbox: Inbox,
) -> None:
    with sending(listening().port) as sender:
        statuses = [
            sender.store(data, "1.2.3").Status
            for data in (b"\0" * 1000, b"\xff" * 1000, os.urandom(10_000))
        ]

    assert statuses == [0xC000] * 3
    assert inbox.studies() == []


def test_a_resend_is_a_success_and_other_content_is_kept_apart(
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    inbox: Inbox,
    observer: RecordingObserver,
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
) -> None:
    dataset = ct()
    first = as_sent(dataset)
    dataset.PatientName = "Roe^Richard"
    other = as_sent(dataset)

    with sending(listening().port) as sender:
        statuses = [
            sender.store(data, dataset.SOPInstanceUID).Status for data in (first, first, other)
        ]

    assert statuses == [0x0000] * 3
    assert [arrival.kept_as for _, arrival in observer.arrivals] == [
        KeptAs.NEW,
        KeptAs.SAME,
        KeptAs.CONFLICT,
    ]
    (kept,) = inbox.instances(dataset.StudyInstanceUID)
    (apart,) = inbox.conflicts(dataset.StudyInstanceUID)
    assert (body(kept.path), body(apart.path)) == (first, other)


def test_the_end_of_an_association_says_what_it_brought(
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    observer: RecordingObserver,
    eventually: Callable[..., None],
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Arrange: two that are new, one of them again, and bytes that are nothing
    caplog.set_level(logging.INFO, "dicom_node.receive.receiver")
    first, second = ct(), ct()

    # Act
    with sending(listening().port) as sender:
        for dataset in (first, second, first):
            sender.store(as_sent(dataset), dataset.SOPInstanceUID)
        sender.store(b"\xff" * 100, "1.2.3")
    eventually(lambda: observer.closed)

    # Assert
    (line,) = [text for text in caplog.messages if " closed: " in text]
    association, end = line.split(" closed: ")
    assert association == f"association {observer.closed[0]} of MODALITY at 127.0.0.1"
    assert re.fullmatch(r"3 stored, 1 refused in \d+\.\d s", end)


class Raising(RecordingObserver):
    """An observer with a fault."""

    def association_opened(self, association_id: str) -> None:
        raise RuntimeError(association_id)

    def arrived(self, association_id: str, arrival: Arrival) -> None:
        raise RuntimeError(association_id)

    def association_closed(self, association_id: str) -> None:
        raise RuntimeError(association_id)


def test_a_raising_observer_costs_no_answer_and_no_instance(
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    inbox: Inbox,
    eventually: Callable[..., None],
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
) -> None:
    listener = listening(observer=Raising())
    data = as_sent(dataset := ct())

    for _ in range(2):
        with sending(listener.port) as sender:
            assert sender.store(data, dataset.SOPInstanceUID).Status == 0x0000
        eventually(lambda: listener.open_associations == 0)

    assert len(inbox.instances(dataset.StudyInstanceUID)) == 1


def test_the_observer_hears_of_an_association_from_beginning_to_end(
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    observer: RecordingObserver,
    eventually: Callable[..., None],
    ct: Callable[..., Dataset],
    as_sent: Callable[..., bytes],
) -> None:
    data = as_sent(dataset := ct())

    with sending(listening().port, calling="SCANNER7") as sender:
        sender.store(data, dataset.SOPInstanceUID)
        time.sleep(0.6)  # the listener looks for ended associations several times meanwhile
        closed_while_open = list(observer.closed)
    eventually(lambda: bool(observer.closed))

    ((name, arrival),) = observer.arrivals
    assert observer.opened == observer.closed == [name]
    assert closed_while_open == []
    assert (arrival.calling_ae_title, arrival.calling_address) == ("SCANNER7", "127.0.0.1")


@pytest.mark.parametrize(
    ("allow", "calling", "called", "reason"),
    [
        ([], "ANYONE", "SEGNODE", None),
        (["SCANNER"], "SCANNER", "SEGNODE", None),
        (["127.0.0.1"], "ANYONE", "SEGNODE", None),
        (["SCANNER", "192.0.2.1"], "STRANGER", "SEGNODE", (1, 1, 3)),
        ([], "ANYONE", "ELSEWHERE", (1, 1, 7)),
    ],
)
def test_who_may_connect(
    listening: Callable[..., Listener],
    observer: RecordingObserver,
    allow: list[str],
    calling: str,
    called: str,
    reason: tuple[int, int, int] | None,
) -> None:
    entity = AE(calling)
    entity.add_requested_context(CTImageStorage)
    answers: list[Any] = []

    association = entity.associate(
        "127.0.0.1",
        listening(allow=allow).port,
        ae_title=called,
        evt_handlers=[(evt.EVT_ACSE_RECV, lambda event: answers.append(event.primitive))],
    )
    if association.is_established:
        association.release()

    answer = answers[0]
    if reason is None:
        assert answer.result == 0
    else:
        assert (answer.result, answer.result_source, answer.diagnostic) == reason
        assert observer.opened == []


def test_associations_above_the_limit_are_refused_for_now(
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    eventually: Callable[..., None],
) -> None:
    listener = listening(limits=PeerLimits(associations=2))

    with sending(listener.port), sending(listener.port), sending(listener.port) as third:
        refused = third.association.acceptor.primitive
    eventually(lambda: listener.open_associations == 0)
    with sending(listener.port) as later:
        accepted = later.association.is_established

    assert (refused.result, refused.result_source, refused.diagnostic) == (2, 3, 2)
    assert accepted


def test_one_association_after_another_never_meets_the_limit(
    listening: Callable[..., Listener], sending: Callable[..., AbstractContextManager[Sender]]
) -> None:
    listener = listening(limits=PeerLimits(associations=2))
    established = []

    for _ in range(20):  # faster than the listener looks for ended ones
        with sending(listener.port) as sender:
            established.append(sender.association.is_established)
        sender.association.join()

    assert all(established)


def test_stopping_aborts_what_is_open_and_frees_the_port(
    listening: Callable[..., Listener],
    sending: Callable[..., AbstractContextManager[Sender]],
    observer: RecordingObserver,
    eventually: Callable[..., None],
) -> None:
    listener = listening()
    with sending(listener.port) as sender:
        listener.stop()
        eventually(lambda: sender.association.is_aborted)

    assert observer.closed == observer.opened
    assert listener.open_associations == 0
    with pytest.raises(RuntimeError, match="not been started"):
        _ = listener.port
    listener.stop()  # twice is harmless


def test_starting_sweeps_what_a_crash_left(
    listening: Callable[..., Listener], tmp_path: Path, inbox: Inbox
) -> None:
    leftover = tmp_path / "inbox" / ".incoming" / "half"
    leftover.write_bytes(b"half")

    listening()

    assert not leftover.exists()
