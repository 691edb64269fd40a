"""Receiving beside Orthanc and DCMTK: CT instances of 525 kB from one and from four senders, then
many small ones, and one large.

    python tests/benchmarks/bench_receive.py [--repeats 3] [--instances 400] [--small 20000]
    [--large-mb 500] [--associations 2000]

The sender is DCMTK's storescu with PDUs of 128 kB, for all, and no side delays small packets
(TCP_NODELAY); each sender has its own files with its own UIDs; the receivers get the same files, in
alternation, and start empty each time. We fsync every instance and its folder; Orthanc runs with
SyncStorageArea on; `storescp --fork` fsyncs nothing. `peak MB` is the largest process of a
receiver's. 0 leaves a part out. Prints tables and writes bench-out/receive.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
OURS, PEER, DCMTK = "segnode", "orthanc", "storescp"
SENDERS = (1, 4)
SIDE = 512  # 512 x 512 x 16 bit: 525 kB
SMALL_SIDE = 68  # 10 kB
# DCMTK, and Orthanc which is built on it, waits 40 ms for an acknowledgement at every answer
# without this
NO_DELAY = {**os.environ, "TCP_NODELAY": "1"}
STORESCU, STORESCP = "/usr/bin/storescu", "/usr/bin/storescp"
ORTHANC = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
LISTEN = """
import sys
from pathlib import Path
from dicom_node.receive.inbox import Inbox
from dicom_node.receive.listener import Listener
from dicom_node.receive.processes import ReceiverProcesses, processes_by_cores
from dicom_node.receive.application_entity import ApplicationEntity
from dicom_node.receive.study_completeness import StudyWatch
node, inbox = ApplicationEntity("SEGNODE"), Inbox(Path(sys.argv[1]))
def receivers(desk):
    return ReceiverProcesses(node, inbox, desk, count=processes_by_cores())
with Listener(node, "127.0.0.1", int(sys.argv[2]), inbox, StudyWatch(), receivers=receivers):
    sys.stdin.read()
"""


@dataclass(frozen=True)
class Run:
    """One receiver taking all instances once; `peak_mb` of its largest process (VmHWM) and `cpu_s`
    of all of them.
    """

    part: str
    receiver: str
    senders: int
    seconds: float
    instances: int
    megabytes: float
    cpu_s: float
    peak_mb: float

    @property
    def per_s(self) -> float:
        """Instances a second."""
        return self.instances / self.seconds


def make_instances(folder: Path, instances: int, senders: int, side: int = SIDE) -> list[Path]:
    """One folder a sender, each a series of its own; pixels are noise that no file system can
    shorten.
    """
    rng = np.random.default_rng(5)
    pixels = rng.integers(-1000, 1500, (side, side), dtype=np.int16)
    folders = []
    for sender in range(senders):
        out = folder / f"{side}-{senders}-{sender}"
        out.mkdir()
        for number in range(instances // senders):
            series = f"{side}.{senders}.{sender}"
            _write_ct(out / f"{number:05}.dcm", series, number, pixels + number % 1000)
        folders.append(out)
    return folders


def make_large(folder: Path, megabytes: int) -> list[Path]:
    """One enhanced CT with frames of noise, written piece by piece."""
    out = folder / "large"
    out.mkdir()
    path, frame = out / "enhanced.dcm", 2 * SIDE * SIDE
    frames = max(megabytes * 1_000_000 // frame, 1)
    _write_ct(path, "9", 0, np.zeros((0, 0), np.int16), EnhancedCTImageStorage, frames)
    head = path.read_bytes()
    noise = np.random.default_rng(6).bytes(frame)
    with path.open("wb") as file:
        file.write(head[: -len(_PIXEL_DATA) - 4] + _PIXEL_DATA + struct.pack("<L", frames * frame))
        for _ in range(frames):
            file.write(noise)
    return [out]


_PIXEL_DATA = (
    b"\xe0\x7f\x10\x00OW\x00\x00"  # tag, VR and reserved bytes; a length of four bytes follows
)


def _write_ct(
    path: Path,
    series: str,
    number: int,
    pixels: np.ndarray,
    sop_class: str = CTImageStorage,
    frames: int = 1,
) -> None:
    """A CT that Orthanc, too, takes as one."""
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = f"1.2.826.0.1.3680043.10.1.{series}.{number + 1}"
    dataset.StudyInstanceUID = "1.2.826.0.1.3680043.10.2"
    dataset.SeriesInstanceUID = f"1.2.826.0.1.3680043.10.3.{series}"
    dataset.PatientID, dataset.PatientName, dataset.StudyID = "BENCH", "Bench^Mark", "1"
    dataset.Modality, dataset.InstanceNumber = "CT", number + 1
    dataset.Rows = dataset.Columns = len(pixels) or SIDE
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.PixelData = pixels.astype("<i2").tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until something listens on a port."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"the receiver ended at once with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)  # a peer that listens says so nowhere
    sys.exit("the receiver did not start")


@contextmanager
def segnode(folder: Path) -> Iterator[tuple[int, int]]:
    """Our listener in a process of its own; gives its port and process id."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", LISTEN, str(folder), str(port)],
        stdin=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        wait_for(port, process)
        yield port, process.pid
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


@contextmanager
def orthanc(folder: Path) -> Iterator[tuple[int, int]]:
    """Orthanc with SQLite, every file fsynced; gives its DICOM port and process id."""
    port, http = free_port(), free_port()
    settings = {
        "Name": "PEER",
        "DicomAet": "SEGNODE",
        "DicomPort": port,
        "HttpPort": http,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "RemoteAccessAllowed": False,
        "DicomAlwaysAllowStore": True,
        "DicomCheckCalledAet": False,
        "SyncStorageArea": True,
        "MaximumPduLength": 131072,
        "OverwriteInstances": False,
    }
    file = folder / "orthanc.json"
    file.write_text(json.dumps(settings))
    process = subprocess.Popen([ORTHANC, str(file)], stderr=subprocess.DEVNULL, env=NO_DELAY)
    try:
        wait_for(port, process)
        yield port, process.pid
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/statistics") as answer:
            if not json.load(answer)["CountInstances"]:
                sys.exit("Orthanc kept nothing")
    finally:
        process.terminate()
        process.wait()


@contextmanager
def storescp(folder: Path) -> Iterator[tuple[int, int]]:
    """DCMTK's receiver with a process an association; gives its port and process id."""
    port = free_port()
    command = [
        STORESCP,
        "--fork",
        "-pdu",
        "131072",
        "-aet",
        "SEGNODE",
        "-od",
        str(folder),
        str(port),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=NO_DELAY)
    try:
        wait_for(port, process)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


RECEIVERS = {OURS: segnode, PEER: orthanc, DCMTK: storescp}


def processes(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += processes(int(child))
    return found


def usage(pid: int) -> tuple[float, float]:
    """CPU seconds so far, of all processes of a receiver, and peak resident megabytes of the
    largest.
    """
    ticks, peak_kib = 0, 0
    for number in processes(pid):
        fields = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += sum(map(int, fields[11:15]))  # with its children that have ended
        status = Path(f"/proc/{number}/status").read_text().splitlines()
        peaks = [int(line.split()[1]) for line in status if line.startswith("VmHWM")]
        peak_kib = max([peak_kib, *peaks])
    return ticks / os.sysconf("SC_CLK_TCK"), peak_kib / 1024


def send(port: int, folders: list[Path]) -> float:
    """Seconds that as many senders as folders take for all of them."""
    command = [STORESCU, "-aec", "SEGNODE", "-pdu", "131072", "+sd", "127.0.0.1", str(port)]
    begun = time.monotonic()
    senders = [subprocess.Popen([*command, str(f)], env=NO_DELAY) for f in folders]
    if any(sender.wait() for sender in senders):
        sys.exit("a sender failed")
    return time.monotonic() - begun


def measure(part: str, receiver: str, folders: list[Path], scratch: Path) -> Run:
    """One receiver, empty at first, takes everything once."""
    start = RECEIVERS[receiver]
    files = [path for folder in folders for path in folder.iterdir()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    with tempfile.TemporaryDirectory(dir=scratch) as name, start(Path(name)) as (port, pid):
        before_s, _ = usage(pid)
        seconds = send(port, folders)
        after_s, peak_mb = usage(pid)
        if receiver == OURS:
            stored = sum(1 for _ in Path(name).glob("*/*/*.dcm"))
            assert stored == len(files), f"{stored} of {len(files)} stored"
    cpu_s = after_s - before_s
    return Run(part, receiver, len(folders), seconds, len(files), megabytes, cpu_s, peak_mb)


def summary(runs: list[Run]) -> list[dict[str, float | str]]:
    """One row for each part, number of senders and receiver, with the ratio of its rate to each
    peer's.
    """
    kinds = dict.fromkeys((run.part, run.senders) for run in runs)
    rows: list[dict[str, float | str]] = []
    for kind in kinds:
        group = {
            receiver: _row(own)
            for receiver in RECEIVERS
            if (own := [r for r in runs if (r.part, r.senders, r.receiver) == (*kind, receiver)])
        }
        for row in group.values():
            for peer in (PEER, DCMTK):
                if peer in group:
                    row[f"x_{peer}"] = float(row["per_s"]) / float(group[peer]["per_s"])
        rows += group.values()
    return rows


def _row(runs: list[Run]) -> dict[str, float | str]:
    """Median and spread of runs of one kind."""
    rates = [run.per_s for run in runs]
    median = statistics.median(rates)
    return {
        "part": runs[0].part,
        "receiver": runs[0].receiver,
        "senders": runs[0].senders,
        "per_s": median,
        "min": min(rates),
        "max": max(rates),
        "megabytes_per_s": median * runs[0].megabytes / runs[0].instances,
        "cpu_s": statistics.median(run.cpu_s for run in runs),
        "peak_mb": max(run.peak_mb for run in runs),
    }


def table(rows: list[dict[str, float | str]]) -> str:
    """The summary for a person."""
    head = f"{'part':<10}{'receiver':<10}{'senders':>8}{'inst/s':>9}{'min':>7}{'max':>7}{'MB/s':>8}"
    lines = [head + f"{'CPU s':>8}{'peak MB':>9}{'x Orthanc':>11}{'x storescp':>12}"]
    for row in rows:
        ratios = [f"{row[key]:.2f}" if key in row else "" for key in (f"x_{PEER}", f"x_{DCMTK}")]
        lines.append(
            f"{row['part']:<10}{row['receiver']:<10}{row['senders']:>8}{row['per_s']:>9.1f}"
            f"{row['min']:>7.0f}{row['max']:>7.0f}{row['megabytes_per_s']:>8.0f}{row['cpu_s']:>8.2f}"
            f"{row['peak_mb']:>9.0f}{ratios[0]:>11}{ratios[1]:>12}"
        )
    return "\n".join(lines)


def measure_all(options: argparse.Namespace, receivers: list[str], scratch: Path) -> list[Run]:
    """Every receiver in alternation: slices from one sender and from several, small instances, one
    large.
    """
    runs: list[Run] = []

    def take(part: str, folders: list[Path], repeats: int) -> None:
        for _ in range(repeats):
            for receiver in receivers:
                runs.append(measure(part, receiver, folders, scratch))
                sys.stderr.write(f"\r{part}, {receiver}, {len(folders)}: {runs[-1].per_s:.0f}/s   ")
        for folder in folders:
            shutil.rmtree(folder)

    for senders in SENDERS:
        if options.instances:
            take("slices", make_instances(scratch, options.instances, senders), options.repeats)
    if options.small:
        take("small", make_instances(scratch, options.small, 1, side=SMALL_SIDE), 1)
    if options.large_mb:
        take("large", make_large(scratch, options.large_mb), 1)
    return runs


def measure_associations(count: int, scratch: Path) -> dict[str, float]:
    """Resident megabytes of our largest process after a tenth of so many associations with one
    C-ECHO, and after all of them.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as name, segnode(Path(name)) as (port, pid):
        resident = []
        begun = time.monotonic()
        for end in (count // 10, count - count // 10):
            for _ in range(end):
                _echo(port)
            resident.append(max(_resident_mb(number) for number in processes(pid)))
    per_s = count / (time.monotonic() - begun)
    return {"associations": count, "per_s": per_s, "early_mb": resident[0], "late_mb": resident[1]}


def _resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def _echo(port: int) -> None:
    """One association with a C-ECHO in it, by hand: a library would take longer than what is
    measured.
    """

    def item(kind: int, value: bytes) -> bytes:
        return struct.pack(">BBH", kind, 0, len(value)) + value

    verification, implicit = b"1.2.840.10008.1.1", b"1.2.840.10008.1.2"
    context = item(0x20, b"\1\0\0\0" + item(0x30, verification) + item(0x40, implicit))
    body = b"\0\1\0\0" + b"SEGNODE".ljust(16) + b"BENCH".ljust(16) + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + context
    body += item(0x50, item(0x51, struct.pack(">L", 16384)))
    elements = struct.pack("<HHL18s", 0, 2, 18, verification)
    for element, value in ((0x0100, 0x0030), (0x0110, 1), (0x0800, 0x0101)):
        elements += struct.pack("<HHLH", 0, element, 2, value)
    command = struct.pack("<HHLL", 0, 0, 4, len(elements)) + elements
    fragment = struct.pack(">LBB", len(command) + 2, 1, 3) + command
    with socket.create_connection(("127.0.0.1", port), 20) as link:
        for kind, said, answer in ((1, body, 2), (4, fragment, 4), (5, bytes(4), 6)):
            link.sendall(struct.pack(">BBL", kind, 0, len(said)) + said)
            if link.recv(4096)[:1] != bytes([answer]):
                sys.exit("an association for C-ECHO was not served")


def parsed_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--instances", type=int, default=400)
    parser.add_argument("--small", type=int, default=20_000, help="instances of 10 kB")
    parser.add_argument(
        "--large-mb", type=int, default=500, help="megabytes of one enhanced object"
    )
    parser.add_argument("--associations", type=int, default=2000)
    parser.add_argument("--dir", type=Path, default=None, help="where to store (default: TMPDIR)")
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    options = parsed_options()
    if not Path(STORESCU).exists():
        sys.stdout.write("skipped: DCMTK is missing (make peers)\n")
        return
    receivers = [PEER, OURS, DCMTK] if Path(ORTHANC).exists() else [OURS, DCMTK]
    if PEER not in receivers:
        sys.stdout.write("Orthanc is missing (make peers): there is nothing to compare with\n")
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        kind = subprocess.run(
            ["stat", "-f", "-c", "%T", name], capture_output=True, text=True, check=False
        ).stdout.strip()
        runs = measure_all(options, receivers, Path(name))
        memory = (
            measure_associations(options.associations, Path(name)) if options.associations else {}
        )
    rows = summary(runs)
    sys.stdout.write(f"\nfsync on (but for storescp), {kind}\n{table(rows)}\n")
    if memory:
        sys.stdout.write(
            "{associations:.0f} associations, {per_s:.0f}/s: {early_mb:.1f} MB resident after a "
            "tenth of them, "
            "{late_mb:.1f} MB after all\n".format(**memory)
        )
    out = ROOT / "bench-out" / "receive.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    record = {"file_system": kind, "fsync": True, "rows": rows, "runs": [asdict(r) for r in runs]}
    out.write_text(json.dumps(record | {"memory": memory}, indent=2) + "\n")


if __name__ == "__main__":
    main()
