"""Delivery to peers in the same process: every answer a destination may give, and every way it may
not answer.
"""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import (
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    SegmentationStorage,
)
from pynetdicom import AE, evt
from pynetdicom.acse import ACSE

from dicom_node.errors import DeliveryError, PermanentDeliveryError, TransientDeliveryError
from dicom_node.fakes import FakeDestination
from dicom_node.result_kinds import SegmentationEncoding
from dicom_node.results.labelmap import LABELMAP_STORAGE
from dicom_node.results.report import ReportWriter
from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.writers import write_result
from dicom_node.send.delivery_status import STATUS_RULES, DeliveryOutcome, rule_for
from dicom_node.send.sender import DeliveryTimeouts, DicomDestination
from dicom_node.values import (
    Algorithm,
    ResultContent,
    ResultIdentity,
    ResultKind,
    ResultSegment,
    SourceVolume,
    WrittenResult,
)
from tests.support import phantoms
from tests.support.ports import free_port

VERIFICATION = "1.2.840.10008.1.1"
QUICK = DeliveryTimeouts(connection_s=1.0, acse_s=1.0, dimse_s=1.0, network_s=2.0)


@pytest.fixture(scope="module")
def results(
    tmp_path_factory: pytest.TempPathFactory,
    volume_of: Callable[[Any], SourceVolume],
    drawn: Callable[..., list[ResultSegment]],
    algorithm: Algorithm,
    identity: ResultIdentity,
) -> tuple[WrittenResult, WrittenResult]:
    """A SEG and the SR that refers to it."""
    folder = tmp_path_factory.mktemp("results")
    phantom = phantoms.torso_ct(folder / "ct")
    volume, segments = volume_of(phantom), drawn(phantom, "liver")
    seg = write_result(
        SegmentationWriter(),
        ResultContent(volume, segments, (), algorithm, identity),
        folder / "seg.dcm",
    )
    report = write_result(
        ReportWriter(),
        ResultContent(volume, segments, [], algorithm, identity),
        folder / "sr.dcm",
        [seg],
    )
    return seg, report


class Archive:
    """A storage SCP that answers as told: `statuses` one a C-STORE, the last one for ever.

    Keeps `received`.
    """

    def __init__(
        self, *, ae_title: str = "PACS", supports: Any = None, statuses: tuple[int, ...] = (0x0000,)
    ) -> None:
        self.statuses = list(statuses)
        self.received: list[Any] = []
        self.associations = 0
        self.before_answer: Callable[[Any], None] = lambda event: None
        self.entity = AE(ae_title=ae_title)
        syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
        default = {
            SegmentationStorage: syntaxes,
            EnhancedSRStorage: syntaxes,
            VERIFICATION: syntaxes,
        }
        for sop_class, accepted in (default if supports is None else supports).items():
            self.entity.add_supported_context(sop_class, accepted)
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_C_ECHO, self._echo),
        ]
        server: Any = self.entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.server = server
        self.port = server.socket.getsockname()[1]

    def _accepted(self, event: Any) -> None:
        self.associations += 1

    def _next(self) -> int:
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    def _echo(self, event: Any) -> int:
        self.before_answer(event)
        return self._next()

    def _store(self, event: Any) -> int:
        self.before_answer(event)
        status = self._next()
        if status == 0x0000 or status >> 12 == 0xB:
            ds = event.dataset
            ds.file_meta = event.file_meta
            self.received.append(ds)
        return status


@pytest.fixture
def archive() -> Iterator[Callable[..., Archive]]:
    """Starts archives and stops them after the test."""
    started: list[Archive] = []

    def start(**options: Any) -> Archive:
        started.append(Archive(**options))
        return started[-1]

    yield start
    for each in started:
        each.server.shutdown()


def to(
    port: int, timeouts: DeliveryTimeouts | None = None, ae_title: str = "PACS"
) -> DicomDestination:
    """The destination "pacs" on a port of this machine."""
    return DicomDestination("pacs", ae_title, "127.0.0.1", port, "SEGNODE", timeouts)


def offered(port: int, segmentation: SegmentationEncoding) -> DicomDestination:
    """The same, offered this encoding first."""
    address = ("127.0.0.1", port, "SEGNODE")
    return DicomDestination("pacs", "PACS", *address, segmentation=segmentation)


class TestEncodings:
    @pytest.mark.parametrize(
        ("segmentation", "how"),
        [
            (SegmentationEncoding.BINARY, ""),
            (SegmentationEncoding.LABELMAP, "as labelmap"),
            (
                SegmentationEncoding.LABELMAP_RLE,
                "as binary: it takes no Label Map Segmentation as RLE Lossless",
            ),
        ],
    )
    def test_a_transfer_syntax_that_is_not_taken_is_none_to_send_in(
        self,
        segmentation: SegmentationEncoding,
        how: str,
        archive: Callable[..., Archive],
        results: tuple[WrittenResult, WrittenResult],
    ) -> None:
        both = [SegmentationStorage, LABELMAP_STORAGE, EnhancedSRStorage]
        pacs = archive(supports={sop_class: [ExplicitVRLittleEndian] for sop_class in both})

        assert offered(pacs.port, segmentation).send(results) == how

        seg, report = pacs.received
        assert seg.SegmentationType == ("LABELMAP" if how == "as labelmap" else "BINARY")
        assert seg.SOPInstanceUID in report.to_json()
        assert pacs.associations == 1

    def test_one_that_takes_label_maps_alone_is_a_destination(
        self, archive: Callable[..., Archive], results: tuple[WrittenResult, WrittenResult]
    ) -> None:
        alone = [LABELMAP_STORAGE, EnhancedSRStorage]
        pacs = archive(supports={sop_class: [ExplicitVRLittleEndian] for sop_class in alone})

        assert offered(pacs.port, SegmentationEncoding.LABELMAP).send(results) == "as labelmap"
        with pytest.raises(PermanentDeliveryError, match="accepts no Segmentation Storage"):
            to(pacs.port).send(results)

    def test_reports_need_no_label_map(
        self, archive: Callable[..., Archive], results: tuple[WrittenResult, WrittenResult]
    ) -> None:
        pacs = archive()

        assert offered(pacs.port, SegmentationEncoding.LABELMAP).send(results[1:]) == ""
        assert len(pacs.received) == 1


class TestLarge:
    def test_a_file_is_sent_without_being_read_whole(
        self,
        archive: Callable[..., Archive],
        results: tuple[WrittenResult, WrittenResult],
        tmp_path: Path,
    ) -> None:
        # Arrange: 48 MB, and a peer in another process, whose memory does not count
        ds = pydicom.dcmread(results[0].path)
        ds.PixelData = bytes(48_000_000)
        ds.save_as(tmp_path / "large.dcm")
        large = replace(results[0], path=tmp_path / "large.dcm")
        port = free_port()
        with subprocess.Popen([sys.executable, "-c", TAKES_ALL, str(port)]) as peer_process:
            try:
                wait_for(port)
                del ds
                tracemalloc.start()

                to(port).send([large])

                _, peak_bytes = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
                peer_process.terminate()

        # Assert: 64 PDUs of 16 kB wait at most
        assert peak_bytes < 12_000_000


# a peer that takes instances and forgets them
TAKES_ALL = """
import sys
from pynetdicom import AE, evt
entity = AE(ae_title="PACS")
entity.add_supported_context("1.2.840.10008.5.1.4.1.1.66.4")
entity.start_server(("127.0.0.1", int(sys.argv[1])), evt_handlers=[(evt.EVT_C_STORE, lambda e: 0)])
"""


def wait_for(port: int, limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)  # it says nowhere that it listens


class TestTaken:
    def test_all_results_go_in_one_association_and_arrive_as_written(
        self, archive: Callable[..., Archive], results: tuple[WrittenResult, WrittenResult]
    ) -> None:
        pacs = archive()

        to(pacs.port).send(results)

        assert pacs.associations == 1
        assert [ds.SOPInstanceUID for ds in pacs.received] == [
            result.sop_instance_uid for result in results
        ]
        for received, result in zip(pacs.received, results, strict=True):
            assert received == pydicom.dcmread(result.path)
            assert received.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian

    @pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007, 0xBFFF])
    def test_warnings_are_deliveries(
        self,
        status: int,
        archive: Callable[..., Archive],
        results: tuple[WrittenResult, WrittenResult],
    ) -> None:
        pacs = archive(statuses=(status,))

        to(pacs.port).send(results)

        assert len(pacs.received) == 2

    def test_a_peer_that_knows_only_the_default_syntax_gets_that(
        self, archive: Callable[..., Archive], results: tuple[WrittenResult, WrittenResult]
    ) -> None:
        only = [ImplicitVRLittleEndian]
        pacs = archive(supports={SegmentationStorage: only, EnhancedSRStorage: only})

        to(pacs.port).send(results)

        seg = pacs.received[0]
        assert seg.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        assert seg.PixelData == pydicom.dcmread(results[0].path).PixelData

    def test_only_what_is_needed_is_proposed(
        self, archive: Callable[..., Archive], results: tuple[WrittenResult, WrittenResult]
    ) -> None:
        pacs = archive()
        proposed: list[Any] = []
        pacs.before_answer = lambda event: proposed.extend(event.assoc.requestor.requested_contexts)

        to(pacs.port).send(results[1:])

        offered = {(str(each.abstract_syntax), str(each.transfer_syntax[0])) for each in proposed}
        assert offered == {
            (EnhancedSRStorage, ExplicitVRLittleEndian),
            (EnhancedSRStorage, ImplicitVRLittleEndian),
        }

    def test_sending_nothing_opens_nothing(self) -> None:
        to(1).send([])

    def test_echo(self, archive: Callable[..., Archive]) -> None:
        to(archive().port).echo()


class TestNegotiation:
    def test_a_peer_that_takes_everything_is_sent_nothing(
        self, archive: Callable[..., Archive]
    ) -> None:
        pacs = archive()

        to(pacs.port).negotiate()

        assert (pacs.associations, pacs.received) == (1, [])

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    def test_one_of_the_syntaxes_is_enough(
        self, archive: Callable[..., Archive], syntax: str
    ) -> None:
        pacs = archive(supports={SegmentationStorage: [syntax], EnhancedSRStorage: [syntax]})

        to(pacs.port).negotiate()

    @pytest.mark.parametrize(
        ("supports", "refused", "accepted"),
        [
            ({EnhancedSRStorage: [ExplicitVRLittleEndian]}, ["Segmentation"], ["Enhanced SR"]),
            ({SegmentationStorage: [ImplicitVRLittleEndian]}, ["Enhanced SR"], ["Segmentation"]),
            ({SegmentationStorage: [JPEG2000Lossless]}, ["Segmentation", "Enhanced SR"], []),
            ({VERIFICATION: [ImplicitVRLittleEndian]}, ["Segmentation", "Enhanced SR"], []),
        ],
        ids=["no SEG", "no SR", "SEG as something else", "the echo alone"],
    )
    def test_what_is_refused_is_named_with_what_we_send(
        self,
        archive: Callable[..., Archive],
        supports: dict[Any, Any],
        refused: list[str],
        accepted: list[str],
    ) -> None:
        supports = {VERIFICATION: [ImplicitVRLittleEndian], **supports}
        pacs = archive(supports=supports)
        to(pacs.port).echo()

        with pytest.raises(PermanentDeliveryError) as error:
            to(pacs.port).negotiate()

        sentence = str(error.value)
        assert "as Explicit VR Little Endian or Implicit VR Little Endian; allow it" in sentence
        assert [name for name in refused if f"{name} Storage (1.2.840" in sentence] == refused
        assert not any(f"{name} Storage" in sentence for name in accepted)

    def test_kinds_that_are_not_sent_are_not_asked_for(
        self, archive: Callable[..., Archive]
    ) -> None:
        pacs = archive(supports={SegmentationStorage: [ExplicitVRLittleEndian]})
        kinds = (ResultKind.SEG,)

        DicomDestination("pacs", "PACS", "127.0.0.1", pacs.port, "SEGNODE", kinds=kinds).negotiate()


class TestRefusedByStatus:
    @pytest.mark.parametrize("status", [0xA700, 0xA7FF, 0x0110, 0x0213])
    def test_worth_another_try(
        self,
        status: int,
        archive: Callable[..., Archive],
        results: tuple[WrittenResult, WrittenResult],
    ) -> None:
        pacs = archive(statuses=(status,))

        with pytest.raises(
            TransientDeliveryError, match=rf"pacs did not take the SEG: 0x{status:04X}"
        ) as refusal:
            to(pacs.port).send(results)

        assert (refusal.value.destination, refusal.value.status) == ("pacs", status)

    @pytest.mark.parametrize("status", [0xA900, 0xC000, 0xC123, 0x0122, 0x0124, 0x0117, 0xFFF0])
    def test_given_up(
        self,
        status: int,
        archive: Callable[..., Archive],
        results: tuple[WrittenResult, WrittenResult],
    ) -> None:
        pacs = archive(statuses=(status,))

        with pytest.raises(PermanentDeliveryError, match="retry the request") as refusal:
            to(pacs.port).send(results)

        assert refusal.value.status == status

    def test_a_second_result_that_is_refused_is_noticed(
        self, archive: Callable[..., Archive], results: tuple[WrittenResult, WrittenResult]
    ) -> None:
        pacs = archive(statuses=(0x0000, 0xA700))

        with pytest.raises(TransientDeliveryError, match="did not take the SR"):
            to(pacs.port).send(results)

        assert len(pacs.received) == 1

    def test_the_next_try_sends_the_same_instances(
        self, archive: Callable[..., Archive], results: tuple[WrittenResult, WrittenResult]
    ) -> None:
        pacs = archive(statuses=(0x0000, 0xA700, 0x0000))

        with pytest.raises(TransientDeliveryError):
            to(pacs.port).send(results)
        to(pacs.port).send(results)

        uids = [ds.SOPInstanceUID for ds in pacs.received]
        assert uids == [
            results[0].sop_instance_uid,
            *(result.sop_instance_uid for result in results),
        ]

    def test_an_echo_answered_with_a_failure(self, archive: Callable[..., Archive]) -> None:
        with pytest.raises(PermanentDeliveryError, match="0x0122"):
            to(archive(statuses=(0x0122,)).port).echo()


class TestNotTakenAtAll:
    def test_a_destination_without_the_sop_class_gets_nothing(
        self, archive: Callable[..., Archive], results: tuple[WrittenResult, WrittenResult]
    ) -> None:
        # Arrange: it would take the report, which refers to the segmentation
        pacs = archive(supports={EnhancedSRStorage: [ExplicitVRLittleEndian]})

        with pytest.raises(
            PermanentDeliveryError, match=r"accepts no Segmentation Storage \(1\.2\.840"
        ):
            to(pacs.port).send(results)

        assert pacs.received == []

    def test_a_destination_that_accepts_nothing_of_ours(
        self, archive: Callable[..., Archive], results: tuple[WrittenResult, WrittenResult]
    ) -> None:
        pacs = archive(supports={VERIFICATION: [ImplicitVRLittleEndian]})

        with pytest.raises(
            PermanentDeliveryError, match=r"accepts no Segmentation Storage.*Enhanced SR"
        ):
            to(pacs.port).send(results)

    def test_an_association_refused_for_its_titles(
        self, archive: Callable[..., Archive], results: tuple[WrittenResult, WrittenResult]
    ) -> None:
        pacs = archive()
        pacs.entity.require_called_aet = True

        with pytest.raises(
            TransientDeliveryError, match="must know itself as 'PAX' and us as 'SEGNODE'"
        ):
            to(pacs.port, ae_title="PAX").send(results)

    def test_a_peer_that_rejects_and_hangs_up_before_anyone_looks(
        self, results: tuple[WrittenResult, WrittenResult], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Arrange: the thread that looks for the answer comes when the line is closed again
        ask = ACSE.send_request

        def ask_and_come_late(acse: ACSE) -> None:
            ask(acse)
            time.sleep(0.5)

        monkeypatch.setattr(ACSE, "send_request", ask_and_come_late)

        with socket.create_server(("127.0.0.1", 0)) as server:
            threading.Thread(target=_reject_and_hang_up, args=(server,), daemon=True).start()
            with pytest.raises(TransientDeliveryError, match="refused the association"):
                to(server.getsockname()[1], QUICK).send(results)

    @pytest.mark.parametrize(
        ("rejection", "sentence"),
        [
            ((1, 1, 7), r"\(called AE title not recognized\); it must know itself as 'PACS'"),
            ((2, 3, 2), r"\(local limit exceeded\); it is tried again"),
            ((1, 1, 99), r"\(source 1, reason 99\); it must know itself as 'PACS'"),
            ((9, 77, 0), r"\(source 77, reason 0\); it must know itself as 'PACS'"),
        ],
    )
    @pytest.mark.filterwarnings(  # pynetdicom's thread ends at a code that it does not know
        "ignore::pytest.PytestUnhandledThreadExceptionWarning"
    )
    def test_every_rejection_says_what_to_do_even_with_a_reserved_code(
        self, rejection: tuple[int, int, int], sentence: str
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            peer = threading.Thread(
                target=_reject_and_hang_up, args=(server, rejection), daemon=True
            )
            peer.start()
            with pytest.raises(TransientDeliveryError, match=sentence):
                to(server.getsockname()[1], QUICK).echo()

    @pytest.mark.parametrize("host", ["nowhere.invalid", "no\nname", "a..b", "x" * 300])
    def test_a_host_that_no_name_service_knows(
        self, results: tuple[WrittenResult, WrittenResult], host: str
    ) -> None:
        pacs = DicomDestination("pacs", "PACS", host, 104, "SEGNODE")

        for ask in (pacs.echo, pacs.negotiate, lambda: pacs.send(results)):
            with pytest.raises(TransientDeliveryError, match="no name that can be resolved") as e:
                ask()
            assert "\n" not in str(e.value)

    def test_nobody_there(self, results: tuple[WrittenResult, WrittenResult]) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]

        with pytest.raises(TransientDeliveryError, match=f"cannot be reached at 127.0.0.1:{port}"):
            to(port, QUICK).send(results)
        with pytest.raises(TransientDeliveryError, match="is it running"):
            to(port, QUICK).echo()

    def test_a_port_that_accepts_and_says_nothing(
        self, results: tuple[WrittenResult, WrittenResult]
    ) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as mute,
            pytest.raises(TransientDeliveryError, match="agreed to no association; see its log"),
        ):
            to(mute.getsockname()[1], QUICK).send(results)

    def test_a_peer_that_stops_in_the_middle_of_its_answer(
        self, results: tuple[WrittenResult, WrittenResult]
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            threading.Thread(target=_stop_within_a_pdu, args=(server,), daemon=True).start()
            started = time.monotonic()
            with pytest.raises(TransientDeliveryError, match="agreed to no association"):
                to(server.getsockname()[1], QUICK).send(results)
            assert time.monotonic() - started < 10

    def test_a_peer_that_stops_taking_a_large_instance(
        self,
        archive: Callable[..., Archive],
        results: tuple[WrittenResult, WrittenResult],
        tmp_path: Path,
    ) -> None:
        # Arrange: more than the buffers of two sockets hold, to a peer whose line goes dead after
        # the first bytes
        ds = pydicom.dcmread(results[0].path)
        ds.PixelData = bytes(50_000_000)
        ds.save_as(tmp_path / "large.dcm")
        large = replace(results[0], path=tmp_path / "large.dcm")

        with socket.create_server(("127.0.0.1", 0)) as server:
            line = (server, archive().port)
            threading.Thread(target=_forward_only_the_beginning, args=line, daemon=True).start()

            # Act
            started = time.monotonic()
            with pytest.raises(TransientDeliveryError, match="gave no answer to the SEG"):
                to(server.getsockname()[1], QUICK).send([large])

        # Assert
        assert time.monotonic() - started < 15

    def test_a_port_that_speaks_something_else(
        self, results: tuple[WrittenResult, WrittenResult]
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            threading.Thread(target=_speak_http, args=(server,), daemon=True).start()
            with pytest.raises(TransientDeliveryError, match="whether that is its DICOM port"):
                to(server.getsockname()[1], QUICK).send(results)

    def test_an_abort_instead_of_an_answer(
        self, archive: Callable[..., Archive], results: tuple[WrittenResult, WrittenResult]
    ) -> None:
        pacs = archive()
        pacs.before_answer = lambda event: event.assoc.abort()

        with pytest.raises(TransientDeliveryError, match="gave no answer to the SEG"):
            to(pacs.port, QUICK).send(results)

    def test_an_answer_that_takes_too_long(
        self, archive: Callable[..., Archive], results: tuple[WrittenResult, WrittenResult]
    ) -> None:
        pacs = archive()
        pacs.before_answer = lambda event: time.sleep(2.5)

        with pytest.raises(TransientDeliveryError, match="gave no answer"):
            to(pacs.port, QUICK).send(results)

    def test_an_echo_without_an_answer(self, archive: Callable[..., Archive]) -> None:
        pacs = archive()
        pacs.before_answer = lambda event: event.assoc.abort()

        with pytest.raises(TransientDeliveryError, match="did not answer the echo"):
            to(pacs.port, QUICK).echo()

    def test_a_result_whose_file_is_gone(
        self,
        archive: Callable[..., Archive],
        results: tuple[WrittenResult, WrittenResult],
        tmp_path: Path,
    ) -> None:
        gone = WrittenResult(ResultKind.SR, tmp_path / "gone.dcm", EnhancedSRStorage, "1.2", "1.3")

        with pytest.raises(FileNotFoundError):
            to(archive().port).send([gone])


def _speak_http(server: socket.socket) -> None:
    """Answer one connection as a web server would, and close it."""
    connection, _ = server.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


_STILL_S = 30.0  # longer than any of the tests waits


def _stop_within_a_pdu(server: socket.socket) -> None:
    """Begin to answer one association, and say no more without hanging up."""
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(bytes([0x03, 0, 0, 0, 0, 4, 0]))
        time.sleep(_STILL_S)  # what is tested is that the sender waits less


def _forward_only_the_beginning(server: socket.socket, port: int) -> None:
    """Let an association with the archive on `port` begin, then take nothing more without hanging
    up.
    """
    connection, _ = server.accept()
    with connection, socket.create_connection(("127.0.0.1", port)) as behind:
        behind.sendall(connection.recv(65536))
        connection.sendall(behind.recv(65536))
        time.sleep(_STILL_S)  # what is tested is that the sender waits less


def _reject_and_hang_up(server: socket.socket, rejection: tuple[int, int, int] = (1, 1, 7)) -> None:
    """Answer one A-ASSOCIATE-RQ with an A-ASSOCIATE-RJ of result, source and reason (PS3.8 9.3.4),
    and hang up.
    """
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(bytes([0x03, 0, 0, 0, 0, 4, 0, *rejection]))


class TestTable:
    @pytest.mark.parametrize(
        ("status", "outcome"),
        [
            (0x0000, "delivered"),
            (0x0001, "delivered"),
            (0x0107, "delivered"),
            (0x0111, "delivered"),  # there already, by a try whose answer was lost
            (0x0116, "delivered"),
            (0xB000, "delivered"),
            (0xA700, "transient"),
            (0xA701, "transient"),
            (0x0110, "transient"),
            (0xA800, "permanent"),  # in no table
            (0xA9FF, "permanent"),
            (0xC001, "permanent"),
            (0x0122, "permanent"),
            (0xFF00, "permanent"),  # pending: no answer to a C-STORE
        ],
    )
    def test_verdicts(self, status: int, outcome: str) -> None:
        assert rule_for(status).outcome == outcome

    def test_every_row_cites_its_source_and_every_refusal_says_what_to_do(self) -> None:
        for row in STATUS_RULES:
            assert row.first <= row.last
            assert row.section.startswith("PS3.")
            assert (row.outcome is DeliveryOutcome.DELIVERED) == (row.advice == "")

    def test_no_status_is_in_two_rows(self) -> None:
        spans = sorted((row.first, row.last) for row in STATUS_RULES)
        assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))


class TestFake:
    def test_it_fails_as_told_and_then_takes_everything(
        self, results: tuple[WrittenResult, WrittenResult]
    ) -> None:
        full: DeliveryError = TransientDeliveryError("full", destination="pacs", status=0xA700)
        fake = FakeDestination("pacs", failures=[full])

        with pytest.raises(TransientDeliveryError):
            fake.echo()
        with pytest.raises(TransientDeliveryError):
            fake.send(results)
        fake.send(results)
        fake.echo()

        assert fake.delivered == [results]
        assert (fake.name, to(1).name) == ("pacs", "pacs")
