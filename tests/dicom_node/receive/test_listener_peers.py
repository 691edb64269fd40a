"""DCMTK as an independent sender: what it sends is what is stored, and it agrees with our
answers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.fakes import RecordingObserver
from dicom_node.receive.inbox import Inbox
from dicom_node.receive.listener import Listener
from dicom_node.receive.study_completeness import StudyWatch
from dicom_node.series.header import read_header

pytestmark = pytest.mark.peer

Dcmtk = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def scu(peer: Callable[[str], str]) -> Dcmtk:
    """Runs one of DCMTK's senders against a listener."""

    def run(
        tool: str, listener: Listener, *arguments: str | Path, called: str = "SEGNODE"
    ) -> subprocess.CompletedProcess[str]:
        command = [peer(tool), "-v", "-aet", "DCMTK", "-aec", called]
        options = [argument for argument in map(str, arguments) if argument.startswith(("-", "+"))]
        files = [argument for argument in map(str, arguments) if argument not in options]
        return subprocess.run(
            [*command, *options, "127.0.0.1", str(listener.port), *files],
            env={**os.environ, "TCP_NODELAY": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


@pytest.fixture
def ct_file(tmp_path: Path, ct: Callable[..., Dataset]) -> Callable[..., Path]:
    """Writes a CT to a file in a transfer syntax."""

    def build(syntax: str = ExplicitVRLittleEndian, **elements: Any) -> Path:
        dataset = ct(**elements)
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 15, 0
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        path = tmp_path / f"{dataset.SOPInstanceUID}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        return path

    return build


def test_echo(listening: Callable[..., Listener], scu: Dcmtk) -> None:
    listener = listening()

    assert scu("echoscu", listener).returncode == 0
    assert scu("echoscu", listener, called="ELSEWHERE").returncode != 0


@pytest.mark.parametrize(
    ("syntax", "option"),
    [
        (ExplicitVRLittleEndian, "-xe"),
        (ExplicitVRBigEndian, "-xb"),
        (ImplicitVRLittleEndian, "-xi"),
        (DeflatedExplicitVRLittleEndian, "-xd"),
    ],
)
def test_what_storescu_sends_is_stored(
    listening: Callable[..., Listener],
    observer: RecordingObserver,
    scu: Dcmtk,
    ct_file: Callable[..., Path],
    syntax: str,
    option: str,
) -> None:
    path = ct_file(syntax)

    done = scu("storescu", listening(), option, path)

    ((_, arrival),) = observer.arrivals
    assert done.returncode == 0, done.stderr
    stored, original = dcmread(arrival.instance.path), dcmread(path)
    assert stored == original
    assert stored.file_meta.TransferSyntaxUID == syntax
    assert stored.file_meta.SourceApplicationEntityTitle == "DCMTK"


def test_the_sample_arrives_whole(
    listening: Callable[..., Listener], inbox: Inbox, scu: Dcmtk, shared_data: Path
) -> None:
    folder = shared_data / "ct_dicom_totalseg" / "dicom"
    originals = {d.SOPInstanceUID: d for d in map(dcmread, folder.iterdir())}

    done = scu("dcmsend", listening(), "+sd", "+r", folder)

    (study,) = inbox.studies()
    assert done.returncode == 0, done.stderr
    stored = inbox.instances(study)
    assert len(stored) == len(originals) == 20
    for instance in stored:
        assert dcmread(instance.path) == originals[instance.sop_instance_uid]


@pytest.mark.parametrize("tool", ["storescu", "dcmsend"])
def test_an_instance_that_is_refused_is_a_failure_for_the_peer(
    tmp_path: Path,
    listening: Callable[..., Listener],
    scu: Dcmtk,
    ct_file: Callable[..., Path],
    tool: str,
) -> None:
    listener = listening(inbox=Inbox(tmp_path / "full", minimum_free_bytes=1 << 60))

    done = scu(tool, listener, ct_file())

    said = done.stdout + done.stderr
    assert "OutOfResources" in said.replace(" ", "") or "a700" in said.lower()


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 192", "山田^太郎"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        ("ISO_IR 144", "Иванов^Иван"),
    ],
)
def test_names_that_are_not_ascii(
    listening: Callable[..., Listener],
    observer: RecordingObserver,
    scu: Dcmtk,
    ct_file: Callable[..., Path],
    character_set: str | list[str],
    name: str,
) -> None:
    path = ct_file(
        SpecificCharacterSet=character_set, PatientName=name, SeriesDescription=name[:30]
    )

    done = scu("storescu", listening(), path)

    ((_, arrival),) = observer.arrivals
    assert done.returncode == 0, done.stderr
    assert str(dcmread(arrival.instance.path).PatientName) == name
    assert read_header(arrival.instance.path).series_description == name[:30]
    assert read_header(arrival.instance.path).faults == ()


def test_several_senders_at_once(
    listening: Callable[..., Listener],
    inbox: Inbox,
    peer: Callable[[str], str],
    ct_file: Callable[..., Path],
) -> None:
    listener = listening()
    paths = [ct_file() for _ in range(12)]

    senders = [
        subprocess.Popen(
            [peer("storescu"), "-aec", "SEGNODE", "127.0.0.1", str(listener.port), *paths[k::4]]
        )
        for k in range(4)
    ]
    codes = [sender.wait(timeout=60) for sender in senders]

    assert codes == [0, 0, 0, 0]
    assert len(inbox.studies()) == 12


def test_a_sender_killed_in_mid_transfer_leaves_nothing_half_stored(
    tmp_path: Path,
    listening: Callable[..., Listener],
    inbox: Inbox,
    observer: RecordingObserver,
    eventually: Callable[..., None],
    peer: Callable[[str], str],
    ct_file: Callable[..., Path],
) -> None:
    listener = listening()
    study = "1.2.826.0.1.1"
    paths = [
        ct_file(StudyInstanceUID=study, PixelData=os.urandom(1 << 20), Rows=1024, Columns=512)
        for _ in range(30)
    ]
    sender = subprocess.Popen(
        [peer("storescu"), "-aec", "SEGNODE", "127.0.0.1", str(listener.port), *paths]
    )

    eventually(lambda: len(observer.arrivals) >= 3)
    sender.send_signal(signal.SIGKILL)
    sender.wait()
    eventually(lambda: listener.open_associations == 0)

    stored = inbox.instances(study)
    originals = {d.SOPInstanceUID: d for d in map(dcmread, paths)}
    assert 3 <= len(stored) == len(observer.arrivals)
    assert all(dcmread(i.path) == originals[i.sop_instance_uid] for i in stored)
    assert list((tmp_path / "inbox" / ".incoming").iterdir()) == []


def test_a_study_is_not_complete_while_its_sender_pauses(
    listening: Callable[..., Listener],
    eventually: Callable[..., None],
    peer: Callable[[str], str],
    ct_file: Callable[..., Path],
) -> None:
    watch = StudyWatch()
    listener, study = listening(observer=watch), "1.2.826.0.1.2"
    command = [peer("storescu"), "-aec", "SEGNODE", "127.0.0.1", str(listener.port)]
    paths = [ct_file(StudyInstanceUID=study, PixelData=bytes(1 << 20)) for _ in range(40)]
    sender = subprocess.Popen([*command, *paths])

    eventually(lambda: bool(watch.waiting()))
    sender.send_signal(signal.SIGSTOP)
    time.sleep(0.8)  # several times the quiet time
    due_while_paused = watch.due(quiet_s=0.1)
    sender.send_signal(signal.SIGCONT)
    sender.wait(timeout=60)
    eventually(lambda: watch.due(quiet_s=0.1) == [study])

    assert due_while_paused == []
    assert watch.waiting()[0].instances == 40


def test_the_class_on_the_wire_is_the_class_on_file(
    listening: Callable[..., Listener],
    observer: RecordingObserver,
    scu: Dcmtk,
    ct_file: Callable[..., Path],
) -> None:
    scu("dcmsend", listening(), ct_file())

    ((_, arrival),) = observer.arrivals
    assert arrival.instance.sop_class_uid == CTImageStorage
    assert arrival.calling_ae_title == "DCMTK"
