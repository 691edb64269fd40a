"""Delivery to independent archives as real processes: DCMTK's storescp with its faults, and Orthanc."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pydicom
import pytest

from dicom_node.errors import PermanentDeliveryError, TransientDeliveryError
from dicom_node.readback import check_segmentation
from dicom_node.report import write_report
from dicom_node.segmentation import write_segmentation
from dicom_node.sender import DeliveryTimeouts, DicomDestination
from dicom_node.values import Algorithm, ResultIdentity, ResultSegment, SourceVolume, WrittenResult

pytestmark = pytest.mark.peer

QUICK = DeliveryTimeouts(connection_s=5.0, acse_s=5.0, dimse_s=2.0, network_s=5.0)
Peer = Callable[[str], str]
Scp = Callable[..., "Storescp"]


class Work:
    """A SEG, the SR that refers to it, and what they were made of."""

    def __init__(
        self, volume: SourceVolume, segments: list[ResultSegment], results: list[WrittenResult]
    ) -> None:
        self.volume, self.segments, self.results = volume, segments, results


@pytest.fixture(scope="module")
def work(
    tmp_path_factory: pytest.TempPathFactory,
    phantoms: ModuleType,
    volume_of: Callable[[Any], SourceVolume],
    drawn: Callable[..., list[ResultSegment]],
    algorithm: Algorithm,
    identity: ResultIdentity,
) -> Work:
    """Results on an oblique series."""
    folder = tmp_path_factory.mktemp("work")
    phantom = phantoms.torso_ct(folder / "ct", orientation="oblique")
    volume, segments = volume_of(phantom), drawn(phantom, "liver", "spleen")
    seg = write_segmentation(volume, segments, algorithm, identity, folder / "seg.dcm")
    return Work(
        volume,
        segments,
        [seg, write_report(volume, segments, [], algorithm, identity, folder / "sr.dcm", seg)],
    )


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(
    condition: Callable[[], bool], process: subprocess.Popen[bytes], limit_s: float = 30.0
) -> None:
    """Wait for a process to be ready; fail if it ends or takes too long."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert process.poll() is None, f"the peer ended with {process.returncode}"
        assert time.monotonic() < deadline, "the peer did not get ready"
        time.sleep(0.1)


class Storescp:
    """DCMTK's storage SCP with some options, writing into `folder` bit for bit."""

    def __init__(self, program: str, folder: Path, *options: str) -> None:
        folder.mkdir()
        self.folder, self.port = folder, free_port()
        # --fork: the probe for readiness is an association of its own
        command = [
            program,
            "-aet",
            "PACS",
            "-od",
            str(folder),
            "--fork",
            "+B",
            *options,
            str(self.port),
        ]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(lambda: listens(self.port), self.process)

    @property
    def destination(self) -> DicomDestination:
        """This archive as a destination."""
        return DicomDestination("pacs", "PACS", "127.0.0.1", self.port, "SEGNODE", QUICK)

    @property
    def received(self) -> list[Path]:
        """Whole files that arrived."""
        return sorted(self.folder.iterdir())


@pytest.fixture
def storescp(peer: Peer, tmp_path: Path) -> Iterator[Scp]:
    """Starts storescp with options and ends it after the test."""
    started: list[Storescp] = []

    def start(*options: str) -> Storescp:
        started.append(Storescp(peer("storescp"), tmp_path / f"archive-{len(started)}", *options))
        return started[-1]

    yield start
    for each in started:
        each.process.terminate()
        each.process.wait(10)


class TestDcmtk:
    def test_results_arrive_bit_for_bit(self, storescp: Scp, work: Work) -> None:
        archive = storescp()

        archive.destination.echo()
        archive.destination.send(work.results)

        received = {pydicom.dcmread(path).SOPInstanceUID: path for path in archive.received}
        assert set(received) == {result.sop_instance_uid for result in work.results}
        for result in work.results:
            assert pydicom.dcmread(received[result.sop_instance_uid]) == pydicom.dcmread(
                result.path
            )
        check_segmentation(received[work.results[0].sop_instance_uid], work.volume, work.segments)

    def test_sending_again_makes_no_second_copy(self, storescp: Scp, work: Work) -> None:
        archive = storescp()

        archive.destination.send(work.results)
        archive.destination.send(work.results)

        assert len(archive.received) == 2

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (["--refuse"], "refused the association"),
            (["--abort-during"], "gave no answer to the SEG"),
            (
                ["--abort-after"],
                "gave no answer to the SEG|before the SR was sent|gave no answer to the SR",
            ),
            (["--sleep-during", "8"], "gave no answer to the SEG"),
            (["--sleep-after", "8"], "gave no answer to the SR"),
        ],
        ids=lambda value: value[0] if isinstance(value, list) else "",
    )
    def test_every_fault_is_worth_another_try(
        self, options: list[str], sentence: str, storescp: Scp, work: Work
    ) -> None:
        with pytest.raises(TransientDeliveryError, match=sentence) as failure:
            storescp(*options).destination.send(work.results)

        assert failure.value.destination == "pacs"

    def test_a_peer_that_takes_only_the_default_syntax(self, storescp: Scp, work: Work) -> None:
        archive = storescp("+xi")

        archive.destination.send(work.results)

        received = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, archive.received)}
        seg = received[work.results[0].sop_instance_uid]
        assert seg.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2"
        assert seg.PixelData == pydicom.dcmread(work.results[0].path).PixelData
        assert seg.PatientName == "Phantom^Torso"


class Orthanc:
    """A PACS of its own in `folder`, on free ports."""

    def __init__(self, program: str, folder: Path) -> None:
        folder.mkdir()
        self.dicom_port, self.http_port = free_port(), free_port()
        plugins = [
            str(path) for path in Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so")
        ]
        configuration = {
            "Name": "PACS",
            "DicomAet": "PACS",
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "index"),
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowStore": True,
            "DicomCheckCalledAet": True,
            "Plugins": plugins,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        self.process = subprocess.Popen(
            [program, str(folder / "orthanc.json")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._is_up, self.process)

    def _is_up(self) -> bool:
        try:
            return bool(self.get("/system"))
        except (urllib.error.URLError, ConnectionError):
            return False

    def get(self, path: str) -> bytes:
        """A resource of its REST interface."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.http_port}{path}", timeout=20
        ) as answer:
            content: bytes = answer.read()
            return content

    def stored(self) -> dict[str, pydicom.Dataset]:
        """Everything it holds, by SOP Instance UID, as it gives the files out."""
        files = [self.get(f"/instances/{each}/file") for each in json.loads(self.get("/instances"))]
        return {ds.SOPInstanceUID: ds for ds in (pydicom.dcmread(BytesIO(data)) for data in files)}

    def destination(self, ae_title: str = "PACS") -> DicomDestination:
        """This archive as a destination."""
        return DicomDestination("pacs", ae_title, "127.0.0.1", self.dicom_port, "SEGNODE")


@pytest.fixture(scope="module")
def orthanc(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One Orthanc for this file."""
    running = Orthanc(peer("Orthanc"), tmp_path_factory.mktemp("pacs") / "orthanc")
    yield running
    running.process.terminate()
    running.process.wait(30)


class TestOrthanc:
    def test_it_answers_the_echo(self, orthanc: Orthanc) -> None:
        orthanc.destination().echo()

    def test_what_it_gives_back_is_what_was_sent(
        self, orthanc: Orthanc, work: Work, tmp_path: Path
    ) -> None:
        orthanc.destination().send(work.results)

        stored = orthanc.stored()
        for result in work.results:
            assert stored[result.sop_instance_uid] == pydicom.dcmread(result.path)
        seg = stored[work.results[0].sop_instance_uid]
        assert seg.PixelData == pydicom.dcmread(work.results[0].path).PixelData
        seg.save_as(tmp_path / "back.dcm")
        check_segmentation(tmp_path / "back.dcm", work.volume, work.segments)

    def test_sending_again_makes_no_duplicate(self, orthanc: Orthanc, work: Work) -> None:
        orthanc.destination().send(work.results)
        before = set(orthanc.stored())

        orthanc.destination().send(work.results)

        assert set(orthanc.stored()) == before

    def test_results_are_series_of_the_sources_study(self, orthanc: Orthanc, work: Work) -> None:
        orthanc.destination().send(work.results)

        found = json.loads(
            orthanc.get(f"/dicom-web/studies/{work.volume.study_instance_uid}/series")
        )

        assert {series["00080060"]["Value"][0] for series in found} == {"SEG", "SR"}

    def test_a_title_that_is_not_its_own_is_refused(self, orthanc: Orthanc, work: Work) -> None:
        with pytest.raises(TransientDeliveryError, match="must know itself as 'OTHER'"):
            orthanc.destination("OTHER").send(work.results)

    def test_an_object_it_does_not_know_is_refused_for_good(
        self, orthanc: Orthanc, work: Work
    ) -> None:
        # Arrange: a label map segmentation, which this version refuses
        report = work.results[1]
        label_map = WrittenResult(
            "SEG",
            report.path,
            "1.2.840.10008.5.1.4.1.1.66.7",
            report.sop_instance_uid,
            report.series_instance_uid,
        )

        with pytest.raises(
            PermanentDeliveryError, match=r"accepts no .*1\.2\.840\.10008\.5\.1\.4\.1\.1\.66\.7"
        ):
            orthanc.destination().send([label_map])

    def test_once_it_has_stopped_it_cannot_be_reached(
        self, peer: Peer, work: Work, tmp_path: Path
    ) -> None:
        archive = Orthanc(peer("Orthanc"), tmp_path / "orthanc")
        archive.process.terminate()
        archive.process.wait(30)

        with pytest.raises(TransientDeliveryError, match="cannot be reached"):
            archive.destination().send(work.results)
