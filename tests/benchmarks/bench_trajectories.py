"""Trajectories a second with LiteMedSAM on cached encodings: python
tests/benchmarks/bench_trajectories.py [--images N] [--processes N] [--per-case N]

BTCV's training slices, one process a core and one thread each, as `--shards` does it. The encoder
has run before the clock starts. Beside the rate by the clock stands the rate by processor time:
what the clock would say on a machine that does nothing else. Then the share that the filter keeps
and the mean turns. Written to bench-out/trajectories.json. Needs ../shared/data/btcv.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from itertools import islice
from multiprocessing.synchronize import Barrier
from pathlib import Path

from agent.case import Case
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.training.reader_settings import ReaderSettings
from agent.training.trajectory import TrajectoryMaker
from models.loaded_models import LoadedModels, open_workbench
from models.runtime.resources import Resources
from models.training.datasets.opening import open_dataset
from models.training.exports.trajectory_folder import begin_folder, end_folder
from models.training.exports.trajectory_shard import CaseDone, TrajectoryShard
from models.training.trajectory_run import TrajectoryRun

ROOT = Path(__file__).resolve().parents[2]
GOAL_A_SECOND = 8.0


@dataclass(frozen=True)
class Part:
    """What one process is to do, and where."""

    data: Path
    work: Path
    images: int
    per_case: int
    index: int
    count: int


def cases_of(part: Part) -> list[Case]:
    """The first slices of the training patients."""
    return list(islice(open_dataset(part.data, split="training").cases(), part.images))


def run_of(part: Part) -> TrajectoryRun:
    """As `segnode trajectories` composes it, on one thread."""
    models: LoadedModels = replace(
        open_workbench("threshold", "litemedsam", resources=Resources(threads=1)), window=None
    )
    maker = TrajectoryMaker(models.segmenter, LanguageSettings(), ReaderSettings(), Limits())
    return TrajectoryRun(models, maker, part.per_case, part.work / "encodings")


def work(part: Part, ready: Barrier, seconds: multiprocessing.Queue[tuple[float, float]]) -> None:
    """One process: load, wait for the others, make the shard's trajectories."""
    run, cases = run_of(part), cases_of(part)
    shard = TrajectoryShard(part.work / "out", part.index, part.count)
    done: list[CaseDone] = []
    ready.wait()
    began, began_cpu = time.perf_counter(), time.process_time()
    run.work(cases, shard, done.append)
    seconds.put((time.perf_counter() - began, time.process_time() - began_cpu))
    shard.close()


def encode_all(part: Part) -> None:
    """Run the encoder on every slice; its encodings are kept for the processes."""
    run = run_of(part)
    for case in cases_of(part):
        prepared = run.models.prepare(case.volume, run.encodings_of(case))
        for truth in case.truths:
            prepared.slices_for(truth.target.structure or truth.target.text).encoding(0)


def measure(options: argparse.Namespace, data: Path, folder: Path) -> dict[str, object]:
    """The figures of one run in `folder`."""
    parts = [
        Part(data, folder, options.images, options.per_case, index, options.processes)
        for index in range(options.processes)
    ]
    encode_all(parts[0])
    begin_folder(folder / "out", {"segmenter": "litemedsam"}, {"dataset": "btcv"})
    context = multiprocessing.get_context("spawn")
    ready, seconds = context.Barrier(options.processes), context.Queue()
    processes = [context.Process(target=work, args=(part, ready, seconds)) for part in parts]
    for process in processes:
        process.start()
    times = [seconds.get(timeout=1800) for _ in processes]
    for process in processes:
        process.join()
    figures = end_folder(folder / "out")
    made = figures.kept + sum(figures.dropped.values())
    slowest_s, cpu_s = max(wall for wall, _ in times), sum(cpu for _, cpu in times)
    return {
        "images": options.images,
        "processes": options.processes,
        "made": made,
        "a_second": made / slowest_s,
        "a_second_by_processor_time": options.processes * made / cpu_s,
        "share_kept": figures.share_kept,
        "mean_turns": figures.mean_turns,
        "load_average": os.getloadavg()[0],
        "counts": asdict(figures),
    }


def main() -> int:
    """Measure, print, write it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--per-case", type=int, default=1)
    options = parser.parse_args()
    data = Path(os.environ.get("SEGNODE_SHARED_DATA", ROOT.parent / "shared" / "data")) / "btcv"
    if not data.is_dir():
        sys.stdout.write(f"skipped: no BTCV slices at {data} (set SEGNODE_SHARED_DATA)\n")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(options, data, Path(folder))
    sys.stdout.write(
        f"trajectories with LiteMedSAM on cached encodings, {options.images} slices, "
        f"{options.processes} processes\n"
        f"made                       {figures['made']:8}\n"
        f"a second, by the clock     {figures['a_second']:8.2f}   (goal {GOAL_A_SECOND:g})\n"
        f"a second, processor time   {figures['a_second_by_processor_time']:8.2f}\n"
        f"share kept by the filter   {figures['share_kept']:8.3f}\n"
        f"mean turns                 {figures['mean_turns']:8.2f}\n"
        f"load of the machine        {figures['load_average']:8.1f}\n"
    )
    out = ROOT / "bench-out" / "trajectories.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
