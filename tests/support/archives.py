"""Independent archives as real processes on free ports, each in a folder of its own.

from tests.support import archives

pacs = archives.Orthanc(peer("Orthanc"), tmp_path / "pacs")
pacs.destination().send(results)
pacs.stop()
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pydicom

from dicom_node.result_kinds import SegmentationEncoding
from dicom_node.send.sender import DeliveryTimeouts, DicomDestination
from tests.support.ports import free_port

QUICK = DeliveryTimeouts(connection_s=5.0, acse_s=5.0, dimse_s=2.0, network_s=5.0)


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
        time.sleep(0.1)  # a peer that listens says so nowhere


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
        return self.offered(SegmentationEncoding.BINARY)

    def offered(self, segmentation: SegmentationEncoding) -> DicomDestination:
        """This archive as a destination that is offered this encoding first."""
        return DicomDestination(
            "pacs", "PACS", "127.0.0.1", self.port, "SEGNODE", QUICK, segmentation=segmentation
        )

    @property
    def received(self) -> list[Path]:
        """Whole files that arrived."""
        return sorted(self.folder.iterdir())

    def stop(self) -> None:
        """End it and wait for its end."""
        self.process.terminate()
        self.process.wait(30)


class Orthanc:
    """A PACS of its own in `folder`, on free ports; with `any_class` it takes what it does not
    know.
    """

    def __init__(self, program: str, folder: Path, *, any_class: bool = False) -> None:
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
            "UnknownSopClassAccepted": any_class,
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

    def destination(
        self,
        ae_title: str = "PACS",
        segmentation: SegmentationEncoding = SegmentationEncoding.BINARY,
    ) -> DicomDestination:
        """This archive as a destination, offered a `segmentation` encoding first."""
        return DicomDestination(
            "pacs",
            ae_title,
            "127.0.0.1",
            self.dicom_port,
            "SEGNODE",
            segmentation=segmentation,
        )

    def stop(self) -> None:
        """End it and wait for its end."""
        self.process.terminate()
        self.process.wait(30)
