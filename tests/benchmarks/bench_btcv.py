"""The locator and LiteMedSAM on BTCV's validation patients: python tests/benchmarks/bench_btcv.py
[--split validation]

A table a line an organ: mean 2-D Dice over the slices with the organ for a box round the truth (the
peer: what the segmenter could do), for the agent's first box and for the agent after its turns, and
how often "absent" was answered where the organ is not. Written to bench-out/btcv.json. Needs
../shared/data/btcv.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.actions import AddBox
from agent.episode.loop import run_episode
from agent.fakes import ArraySlices
from agent.limits import Limits
from agent.ports import Observation
from agent.turns import Episode
from agent.values import Box, Prompts, Role, Target
from models.images.normalise import normalise
from models.policies.locator.btcv import LabelledSlice, read_btcv
from models.policies.locator.knowledge import ORGANS
from models.policies.locator.policy import LocatorPolicy
from models.segmenters.litemedsam import LiteMedSam

ROOT = Path(__file__).resolve().parents[2]
ORACLE_MARGIN_PX = 3.0
LARGE = ("liver", "spleen", "right_kidney", "left_kidney", "aorta")


@dataclass(frozen=True)
class Result:
    """One organ on one slice: Dice where it is, None where it is not; `absent` what the agent
    answered.
    """

    organ: str
    oracle: float | None
    first: float | None
    agent: float | None
    absent: bool
    confidence: float
    turns: int


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """2-D Dice of two masks (rows, columns); 0 for two empty ones."""
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * float(np.count_nonzero(one & other)) / total if total else 0.0


def measure(one: LabelledSlice, policy: LocatorPolicy, segmenter: LiteMedSam) -> Iterable[Result]:
    """All organs on one slice, as a volume of one slice."""
    slices = ArraySlices(normalise(one.pixels)[None], segmenter)
    for number, organ in enumerate(ORGANS, start=1):
        truth = one.labels == number
        target = Target(organ.replace("_", " "), organ)
        localisation = policy.localise(target, slices)
        episode = None if localisation.absent else work(target, policy, segmenter, slices)
        best = None if episode is None else episode.best
        oracle, first, agent = None, None, None
        if truth.any():
            box = Box.around(truth).grown(ORACLE_MARGIN_PX, truth.shape)
            oracle = dice(segmenter.segment(slices.encoding(0), Prompts(box=box)).mask, truth)
            first, agent = 0.0, 0.0
            if episode is not None and best is not None:
                first = dice(first_mask(episode, segmenter, slices), truth)
                agent = dice(best.mask, truth)
        confidence = episode.score if episode else 0.0
        turns = len(episode.turns) if episode else 0
        yield Result(organ, oracle, first, agent, best is None, confidence, turns)


def work(
    target: Target, policy: LocatorPolicy, segmenter: LiteMedSam, slices: ArraySlices
) -> Episode:
    """The episode on the only slice, run to its end."""
    episode = run_episode(Observation(target, slices, 0, Role.KEY), policy, segmenter, Limits())
    while True:
        try:
            next(episode)
        except StopIteration as end:
            return end.value


def first_mask(episode: Episode, segmenter: LiteMedSam, slices: ArraySlices) -> NDArray[np.bool_]:
    """What the first box alone gave."""
    first = episode.turns[0].action
    assert isinstance(first, AddBox)
    return segmenter.segment(slices.encoding(0), Prompts(box=first.box)).mask


def summary(results: list[Result]) -> dict[str, dict[str, float]]:
    """Means by organ and over groups of (organ, slice) pairs."""
    groups = {organ: (organ,) for organ in ORGANS} | {"large_5": LARGE, "all_13": ORGANS}
    return {
        name: _means([r for r in results if r.organ in organs]) for name, organs in groups.items()
    }


def _means(results: list[Result]) -> dict[str, float]:
    there = [r for r in results if r.oracle is not None]
    gone = [r for r in results if r.oracle is None]
    return {
        "n": len(there),
        "oracle_box": _mean(r.oracle for r in there if r.oracle is not None),
        "first_box": _mean(r.first for r in there if r.first is not None),
        "agent": _mean(r.agent for r in there if r.agent is not None),
        "missed": _mean(r.absent for r in there),
        "confidence": _mean(r.confidence for r in there if not r.absent),
        "turns": _mean(r.turns for r in there),
        "n_absent": len(gone),
        "absent_answered": _mean(r.absent for r in gone),
    }


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return round(float(np.mean(listed)), 4) if listed else float("nan")


def table(means: dict[str, dict[str, float]]) -> str:
    """The summary for a person; the ratio is the agent's Dice to the oracle box's."""
    lines = [f"{'organ':<26}{'n':>5}{'oracle':>9}{'first':>8}{'agent':>8}{'ratio':>8}{'absent':>9}"]
    for name, row in means.items():
        ratio = row["agent"] / row["oracle_box"]
        lines.append(
            f"{name:<26}{row['n']:>5.0f}{row['oracle_box']:>9.3f}{row['first_box']:>8.3f}"
            f"{row['agent']:>8.3f}{ratio:>8.3f}{row['absent_answered']:>9.3f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    data = Path(os.environ.get("SEGNODE_SHARED_DATA", ROOT.parent / "shared" / "data")) / "btcv"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", default="validation", choices=("validation", "training"))
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--only", nargs="*", default=[], help="patients")
    parser.add_argument("--out", type=Path, default=ROOT / "bench-out" / "btcv.json")
    options = parser.parse_args()
    if not data.is_dir():
        sys.stdout.write(f"skipped: no BTCV slices at {data} (set SEGNODE_SHARED_DATA)\n")
        return
    policy = LocatorPolicy(options.weights) if options.weights else LocatorPolicy()
    segmenter = LiteMedSam()
    slices = [
        s for s in read_btcv(data, options.split) if not options.only or s.patient in options.only
    ]
    results: list[Result] = []
    for done, one in enumerate(slices, start=1):
        results += measure(one, policy, segmenter)
        sys.stderr.write(f"\r{done} of {len(slices)} slices")
    means = summary(results)
    sys.stdout.write(f"\n{table(means)}\n")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"split": options.split, "organs": means}, indent=2) + "\n")


if __name__ == "__main__":
    main()
