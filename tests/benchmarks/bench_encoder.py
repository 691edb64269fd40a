"""LiteMedSAM's image encoder, a slice at a time: python tests/benchmarks/bench_encoder.py
[--threads N] [--runs N] [--precision int8]

ONNX Runtime as the node uses it beside eager torch (the peer), interleaved so that other load on
the machine hits both alike; least and median of the runs, and the worst difference of the
embeddings. The least is the encoder's own time on a machine that does other work as well. Written
to bench-out/encoder.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from models.runtime.resources import Precision
from models.segmenters.litemedsam import LiteMedSam, model_input

ROOT = Path(__file__).resolve().parents[2]
FLOOR_S, GOAL_S, MOST_DIFFERENCE = 0.7, 0.6, 1e-3


@dataclass(frozen=True)
class Timing:
    """Seconds a slice: the `least` and the `median` of all runs."""

    least_s: float
    median_s: float

    @classmethod
    def of(cls, seconds: list[float]) -> Timing:
        """Both from the seconds of each run."""
        return cls(min(seconds), statistics.median(seconds))


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> int:
    """Measure, print a table, write it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--precision", type=Precision, default=Precision.AUTO)
    options = parser.parse_args()
    image = np.random.default_rng(0).random((512, 512), dtype=np.float32)
    image = model_input(image)[0, 0]  # smooth as a slice is, and already at the model's size
    fast = LiteMedSam(threads=options.threads, precision=options.precision)
    eager = LiteMedSam(threads=options.threads, eager=True)
    gap = float(np.abs(fast.encode(image).embedding - eager.encode(image).embedding).max())
    runs = [
        (seconds(lambda: fast.encode(image)), seconds(lambda: eager.encode(image)))
        for _ in range(options.runs)
    ]
    ours, peer = (Timing.of(list(column)) for column in zip(*runs, strict=True))
    lines = [
        f"LiteMedSAM encoder, seconds a slice, {options.threads} threads, {options.runs} runs",
        f"{'':22}{'least':>8}{'median':>8}{'ratio':>8}",
    ]
    for name, timing in ((fast.runtime, ours), ("eager torch (peer)", peer)):
        ratio = peer.median_s / timing.median_s
        lines.append(f"{name:22}{timing.least_s:8.3f}{timing.median_s:8.3f}{ratio:7.2f}x")
    lines.append(f"worst difference of the embedding {gap:.1e} (at most {MOST_DIFFERENCE:.0e})")
    lines.append(f"floor {FLOOR_S} s, goal {GOAL_S} s on 2 cores")
    load = os.getloadavg()[0]
    if load > options.threads:
        lines.append(
            f"the machine does other work (load {load:.1f}): the least is the fairer figure"
        )
    sys.stdout.write("\n".join(lines) + "\n")
    result = {
        "threads": options.threads,
        "runs": options.runs,
        "runtime": fast.runtime,
        "ours": asdict(ours),
        "eager_torch": asdict(peer),
        "ratio_median": peer.median_s / ours.median_s,
        "worst_difference": gap,
        "load_average": load,
    }
    out = ROOT / "bench-out" / "encoder.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    exact = options.precision is not Precision.INT8  # rounded weights differ by design
    return 0 if gap < MOST_DIFFERENCE or not exact else 1


if __name__ == "__main__":
    sys.exit(main())
