"""Memory and steps of supervised fine-tuning: python tests/benchmarks/bench_training.py [--steps N]

A tiny random Qwen3-VL learns scripted toy episodes of one to three pictures, one a step, all its
weights. The process's own memory is read after every step; after the first tenth, in which caches
and the allocator fill, it has to stay within 32 MB of where it was. Written to
bench-out/training.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch

from models.training.sft import SftSettings, train_sft
from tests.support import chat_folders
from tests.support.scripted_trajectories import corrected, write_trajectories
from tests.support.token_golden import planner_size

ROOT = Path(__file__).resolve().parents[2]
GOAL_MB = 32.0


def measure(steps: int, folder: Path) -> dict[str, float]:
    """Train, and give figures of memory (MB, resident) and time (s a step)."""
    write_trajectories(folder / "data", script=corrected)
    chat_folders.save_qwen3_vl(folder / "base", planner_size())
    process = psutil.Process()
    resident_mb: list[float] = []
    ended_s: list[float] = []

    def progress(text: str) -> None:
        if text.startswith("step "):
            resident_mb.append(process.memory_info().rss / 1e6)
            ended_s.append(time.perf_counter())

    settings = SftSettings(
        steps=steps, accumulate=1, save_every=steps, learning_rate=1e-4, device="cpu", held_out=0.0
    )
    train_sft(folder / "data", folder / "base", folder / "run", settings, progress=progress)
    settled = resident_mb[steps // 10 :]
    quarter = max(len(settled) // 4, 1)
    slope, _ = np.polyfit(np.arange(len(settled)), settled, 1)
    return {
        "steps": steps,
        "resident_first_mb": round(resident_mb[0], 1),
        "resident_settled_mb": round(float(np.mean(settled[:quarter])), 1),
        "resident_last_mb": round(float(np.mean(settled[-quarter:])), 1),
        "growth_mb": round(float(np.mean(settled[-quarter:]) - np.mean(settled[:quarter])), 1),
        "slope_kb_a_step": round(float(slope) * 1e3, 2),
        "seconds_a_step": round((ended_s[-1] - ended_s[0]) / max(len(ended_s) - 1, 1), 3),
    }


def main() -> int:
    """Measure, write the figures, and say whether memory stayed where it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        figures = measure(arguments.steps, Path(made))
    out = ROOT / "bench-out"
    out.mkdir(exist_ok=True)
    (out / "training.json").write_text(json.dumps(figures, indent=1) + "\n")
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return int(figures["growth_mb"] > GOAL_MB)


if __name__ == "__main__":
    sys.exit(main())
