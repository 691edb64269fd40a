"""`segnode evaluate` beside `segnode segment` on each image: python tests/benchmarks/
bench_evaluate.py [--sample N]

The locator and LiteMedSAM on BTCV's validation patients: 27 slices with 153 organs that are there
(351 targets). Ours is one process without baselines over all of them, its results and report
written; it answers for the organs that are absent too. The peer is a process of `segnode segment`
an image, with the organs that it shows alone. It is timed on a sample of images, taken at equal
distances, and the sample's mean counts for every image; how far its images lie apart is printed.
Wall clock, both from the start of their processes. Written to bench-out/evaluate.json. Needs
../shared/data/btcv and `segnode[train]`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from agent.case import Case
from models.training.datasets.opening import open_dataset

ROOT = Path(__file__).resolve().parents[2]
GOAL = 3.0
SEGNODE = (sys.executable, "-m", "server.cli")


def run_s(*words: str) -> float:
    """Seconds that a `segnode` command takes; it must end well."""
    began = time.perf_counter()
    subprocess.run([*SEGNODE, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def segment_s(case: Case, image: Path, out: Path) -> float:
    """Seconds of `segnode segment` on an image, with the structures that it shows."""
    present = [truth.target.text for truth in case.truths if not truth.absent]
    targets = [word for text in present for word in ("--target", text)]
    models = ("--policy", "locator", "--segmenter", "litemedsam")
    return run_s("segment", str(image), *targets, "--out", str(out), *models)


def main() -> int:
    """Measure, print, write."""
    data = Path(os.environ.get("SEGNODE_SHARED_DATA", ROOT.parent / "shared" / "data")) / "btcv"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=4, help="images that the peer is timed on")
    options = parser.parse_args()
    if not data.is_dir():
        sys.stdout.write(f"skipped: no BTCV slices at {data} (set SEGNODE_SHARED_DATA)\n")
        return 0
    cases = list(open_dataset(data, split="validation").cases())
    sample = cases[:: max(1, len(cases) // options.sample)][: options.sample]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        ours_s = run_s(
            *("evaluate", str(data), "--split", "validation", "--baselines", "none"),
            *("--policy", "locator", "--segmenter", "litemedsam", "--out", str(out / "run")),
        )
        seconds = [
            segment_s(case, data / "image" / f"{case.case_id}.png", out / case.case_id)
            for case in sample
        ]
        results = json.loads((out / "run" / "results.json").read_text())
    peer_s = sum(seconds) / len(seconds) * len(cases)
    figures = results["methods"]["locator"]["all"]
    organs = sum(not truth.absent for case in sample for truth in case.truths)
    load = os.getloadavg()[0]
    sys.stdout.write(
        f"{len(cases)} slices, {figures['present']} organs that are there, "
        f"{figures['targets']} targets; load {load:.1f}\n"
        f"segnode evaluate                        {ours_s:8.1f} s\n"
        f"segnode segment on each (from {len(seconds)} images)  {peer_s:8.1f} s\n"
        f"  the sample: {organs} organs, {min(seconds):.1f} to {max(seconds):.1f} s an image\n"
        f"ratio {peer_s / ours_s:.1f} x (goal {GOAL:g} x); Dice {figures['dice']['mean']:.3f}, "
        f"absent {figures['absent_answered']['mean']:.3f}\n"
    )
    content = {
        "evaluate_s": ours_s,
        "segment_each_s": peer_s,
        "sampled_images": len(seconds),
        "sampled_organs": organs,
        "sampled_s": seconds,
        "ratio": peer_s / ours_s,
        "dice": figures["dice"]["mean"],
        "absent_answered": figures["absent_answered"]["mean"],
        "load_average": load,
    }
    file = ROOT / "bench-out" / "evaluate.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
