"""Receiving beside Orthanc: 400 CT instances of 525 kB, from one and from four senders, every instance fsynced.

    python tests/benchmarks/bench_receive.py [--repeats 3] [--instances 400]

The sender is DCMTK's storescu with PDUs of 128 kB, for both, and no side delays small packets (TCP_NODELAY); each sender has its own files with its own
UIDs; both receivers get the same files, in alternation, and start empty each time. Orthanc runs with SyncStorageArea on.
Prints a table and writes bench-out/receive.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
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
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

ROOT = Path(__file__).resolve().parents[2]
OURS, PEER = "segnode", "orthanc"
SENDERS = (1, 4)
SIDE = 512  # 512 x 512 x 16 bit: 525 kB
# DCMTK, and Orthanc which is built on it, waits 40 ms for an acknowledgement at every answer without this
NO_DELAY = {**os.environ, "TCP_NODELAY": "1"}
STORESCU = "/usr/bin/storescu"
ORTHANC = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
LISTEN = """
import sys
from pathlib import Path
from dicom_node.inbox import Inbox
from dicom_node.listener import Listener
from dicom_node.receive.processes import ReceiverProcesses, processes_by_cores
from dicom_node.receive.receiver import Node
from dicom_node.watch import StudyWatch
node, inbox = Node("SEGNODE"), Inbox(Path(sys.argv[1]))
def receivers(desk):
    return ReceiverProcesses(node, inbox, desk, count=processes_by_cores())
with Listener(node, "127.0.0.1", int(sys.argv[2]), inbox, StudyWatch(), receivers=receivers):
    sys.stdin.read()
"""


@dataclass(frozen=True)
class Run:
    """One receiver taking all instances once; `peak_mb` of its memory (VmHWM) and `cpu_s` of all its threads."""

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


def make_instances(folder: Path, instances: int, senders: int) -> list[Path]:
    """One folder a sender, each a series of its own; pixels are noise that no file system can shorten."""
    rng = np.random.default_rng(5)
    pixels = rng.integers(-1000, 1500, (SIDE, SIDE), dtype=np.int16)
    folders = []
    for sender in range(senders):
        out = folder / f"{senders}-{sender}"
        out.mkdir()
        for number in range(instances // senders):
            _write_ct(out / f"{number:04}.dcm", f"{senders}.{sender}", number, pixels + number)
        folders.append(out)
    return folders


def _write_ct(path: Path, series: str, number: int, pixels: np.ndarray) -> None:
    """A CT slice that Orthanc, too, takes as one."""
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = f"1.2.826.0.1.3680043.10.1.{series}.{number + 1}"
    dataset.StudyInstanceUID = "1.2.826.0.1.3680043.10.2"
    dataset.SeriesInstanceUID = f"1.2.826.0.1.3680043.10.3.{series}"
    dataset.PatientID, dataset.PatientName, dataset.StudyID = "BENCH", "Bench^Mark", "1"
    dataset.Modality, dataset.InstanceNumber = "CT", number + 1
    dataset.Rows = dataset.Columns = SIDE
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.PixelData = pixels.astype("<i2").tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


def usage(pid: int) -> tuple[float, float]:
    """CPU seconds so far and peak resident megabytes of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    status = Path(f"/proc/{pid}/status").read_text()
    peak_kib = next(
        int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")
    )
    return ticks / os.sysconf("SC_CLK_TCK"), peak_kib / 1024


def send(port: int, folders: list[Path]) -> float:
    """Seconds that as many senders as folders take for all of them."""
    command = [STORESCU, "-aec", "SEGNODE", "-pdu", "131072", "+sd", "127.0.0.1", str(port)]
    begun = time.monotonic()
    senders = [subprocess.Popen([*command, str(f)], env=NO_DELAY) for f in folders]
    if any(sender.wait() for sender in senders):
        sys.exit("a sender failed")
    return time.monotonic() - begun


def measure(receiver: str, folders: list[Path], scratch: Path) -> Run:
    """One receiver, empty at first, takes everything once."""
    start = segnode if receiver == OURS else orthanc
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
    return Run(receiver, len(folders), seconds, len(files), megabytes, cpu_s, peak_mb)


def summary(runs: list[Run]) -> list[dict[str, float | str]]:
    """One row for each receiver and number of senders; `ratio` to Orthanc is missing where that is."""
    kinds = [(senders, receiver) for senders in SENDERS for receiver in (PEER, OURS)]
    groups = {kind: [r for r in runs if (r.senders, r.receiver) == kind] for kind in kinds}
    rows = {kind: _row(group) for kind, group in groups.items() if group}
    for (senders, _), row in rows.items():
        if peer := rows.get((senders, PEER)):
            row["ratio"] = float(row["per_s"]) / float(peer["per_s"])
    return list(rows.values())


def _row(runs: list[Run]) -> dict[str, float | str]:
    """Median and spread of runs of one kind."""
    rates = [run.per_s for run in runs]
    median = statistics.median(rates)
    return {
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
    head = f"{'receiver':<10}{'senders':>8}{'inst/s':>9}{'min':>7}{'max':>7}{'MB/s':>8}"
    lines = [head + f"{'CPU s':>8}{'peak MB':>9}{'x Orthanc':>11}"]
    for row in rows:
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
        lines.append(
            f"{row['receiver']:<10}{row['senders']:>8}{row['per_s']:>9.0f}{row['min']:>7.0f}"
            f"{row['max']:>7.0f}{row['megabytes_per_s']:>8.0f}{row['cpu_s']:>8.2f}"
            f"{row['peak_mb']:>9.0f}{ratio:>11}"
        )
    return "\n".join(lines)


def measure_all(receivers: list[str], instances: int, repeats: int, scratch: Path) -> list[Run]:
    """Every receiver in alternation, with one sender and with several."""
    runs = []
    for senders in SENDERS:
        folders = make_instances(scratch, instances, senders)
        for _ in range(repeats):
            for receiver in receivers:
                runs.append(measure(receiver, folders, scratch))
                sys.stderr.write(f"\r{receiver}, {senders} senders: {runs[-1].per_s:.0f}/s   ")
    return runs


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--instances", type=int, default=400)
    parser.add_argument("--dir", type=Path, default=None, help="where to store (default: TMPDIR)")
    options = parser.parse_args()
    if not Path(STORESCU).exists():
        sys.stdout.write("skipped: DCMTK is missing (make peers)\n")
        return
    receivers = [PEER, OURS] if Path(ORTHANC).exists() else [OURS]
    if PEER not in receivers:
        sys.stdout.write("Orthanc is missing (make peers): there is nothing to compare with\n")
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        kind = subprocess.run(
            ["stat", "-f", "-c", "%T", name], capture_output=True, text=True, check=False
        ).stdout.strip()
        runs = measure_all(receivers, options.instances, options.repeats, Path(name))
    rows = summary(runs)
    sys.stdout.write(f"\n{options.instances} instances of 525 kB, fsync on, {kind}\n")
    sys.stdout.write(f"{table(rows)}\n")
    out = ROOT / "bench-out" / "receive.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    record = {"file_system": kind, "fsync": True, "rows": rows, "runs": [asdict(r) for r in runs]}
    out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
