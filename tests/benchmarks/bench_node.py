"""The node's own work on a 500-slice 512x512 CT with 5 targets, the models' time excluded.

    python tests/benchmarks/bench_node.py

Index, choose and load the volume, keep it, keep five masks, write and check SEG and SR, trace and
preview, send both to an archive in a process of its own. Writes bench-out/node.json; peak memory is
this process's.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.limits import Limits
from agent.trace import TracedTarget
from agent.values import Target, TargetStatus
from dicom_node.send.sender import DicomDestination
from dicom_node.series.header import read_header
from dicom_node.voxels import Voxels
from models.loaded_models import open_workbench
from server.demo.archive import AE_TITLE, Archive
from server.demo.phantom import write_torso
from server.pipeline import Pipeline, read_series
from server.rules.catalogue import load_catalogue
from server.study.workfolder import EncodingStore, WorkFolder
from server.values import Assignment, TargetSummary

SLICES, REPEATS = 500, 3
FLOOR_S, GOAL_S, FLOOR_GB, GOAL_GB = 15.0, 8.0, 3.0, 2.0
# centre (z, y, x) and radii in voxels: together on all slices, about the size of real organs
TARGETS = {
    "liver": ((250, 220, 170), (110, 90, 85)),
    "spleen": ((270, 300, 390), (60, 50, 35)),
    "stomach": ((290, 200, 320), (60, 45, 60)),
    "aorta": ((250, 300, 265), (250, 15, 15)),
    "left_kidney": ((180, 330, 340), (60, 30, 28)),
}


def main() -> None:
    """Measure, print the table, write the JSON."""
    with tempfile.TemporaryDirectory(prefix="segnode-bench-") as name:
        folder = Path(name)
        writer = multiprocessing.get_context("spawn").Process(
            target=write_torso, args=(folder / "study", SLICES)
        )
        writer.start()
        writer.join()
        with archive(folder / "archive") as port:
            runs = [measure(folder / "study", folder / f"run-{i}", port) for i in range(REPEATS)]
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    report(runs, peak_gb)


def measure(study: Path, out: Path, port: int) -> dict[str, float]:
    """Seconds of each stage of one study."""
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        seconds[stage] = seconds.get(stage, 0.0) + time.monotonic() - started

    with timed("index"):
        headers = [read_header(path) for path in sorted(study.iterdir())]
    pipeline = Pipeline(
        load=lambda _: read_series(headers),
        folder=lambda request_id: out / request_id,
        encodings=EncodingStore(out / "encodings", limit_bytes=0),
        workbench=lambda _: open_workbench("threshold", "fake"),
        catalogue=load_catalogue(),
        limits=Limits(),
    )
    asked = tuple(Target(key, key) for key in TARGETS)
    assignment = Assignment("bench", headers[0].study_instance_uid, 1, None, asked)
    with timed("volume"):
        shape = pipeline.select(assignment).shape
    folder = WorkFolder(out / "bench")
    summaries = []
    for index, target in enumerate(asked):
        mask = ellipsoid(shape, *TARGETS[target.text])
        with timed("masks"):
            summaries.append(kept(folder, index, target, Voxels.of(mask)))
    with timed("SEG, SR"):
        results = pipeline.write(assignment, summaries)
    with timed("send"):
        destination = DicomDestination("pacs", AE_TITLE, "127.0.0.1", port, "SEGNODE")
        destination.send(results)
    return seconds


def kept(folder: WorkFolder, index: int, target: Target, mask: Voxels) -> TargetSummary:
    """Leave a mask as the stage that segments does."""
    status = TargetStatus.SEGMENTED
    summary = TargetSummary(index, target.text, target.structure, status, "", 1.0, 1, 0.9)
    folder.save_target(summary, mask, TracedTarget(target, status))
    return summary


def ellipsoid(
    shape: tuple[int, int, int], centre: tuple[int, int, int], radii: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """(z, y, x) bool, in voxels."""
    mask = np.zeros(shape, dtype=np.bool_)
    y, x = np.ogrid[: shape[1], : shape[2]]
    inplane = ((y - centre[1]) / radii[1]) ** 2 + ((x - centre[2]) / radii[2]) ** 2
    for z in range(shape[0]):
        mask[z] = inplane + ((z - centre[0]) / radii[0]) ** 2 <= 1.0
    return mask


@contextmanager
def archive(folder: Path) -> Iterator[int]:
    """An archive in a process of its own; its port."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(folder, there))
    process.start()
    try:
        yield int(here.recv())
    finally:
        here.send("stop")
        process.join()


def _serve(folder: Path, pipe: Connection) -> None:
    with Archive(folder).running() as running:
        pipe.send(running.port)
        pipe.recv()


def report(runs: list[dict[str, float]], peak_gb: float) -> None:
    """Print medians and spread against floor and goal; keep them as JSON."""
    rows = {stage: [run[stage] for run in runs] for stage in runs[0]}
    rows["all"] = [sum(run.values()) for run in runs]
    lines = [
        f"{SLICES} slices 512x512, {len(TARGETS)} targets, model time excluded, {len(runs)} runs"
    ]
    lines.append(f"{'stage':<10}{'median s':>10}{'min':>8}{'max':>8}")
    for stage, values in rows.items():
        lines.append(
            f"{stage:<10}{statistics.median(values):>10.2f}{min(values):>8.2f}{max(values):>8.2f}"
        )
    lines.append(f"floor {FLOOR_S:.0f} s, goal {GOAL_S:.0f} s")
    lines.append(f"peak memory {peak_gb:.2f} GB (floor {FLOOR_GB:.0f}, goal {GOAL_GB:.0f})")
    sys.stdout.write("\n".join(lines) + "\n")
    out = Path("bench-out")
    out.mkdir(exist_ok=True)
    figures = {"slices": SLICES, "seconds": rows, "peak_gb": peak_gb}
    (out / "node.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
