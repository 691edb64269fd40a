"""A full abdomen, 300 slices and 5 targets, from files to checked results: seconds by stage, and
how much is not the models'.

    python tests/benchmarks/bench_abdomen.py [SLICES] [--precision int8] [--draw-step-mm 0]

The slices are those of the real sample CT, interpolated along the body, so every organ is on most
of them: more work than a real abdomen of that length gives. Planner and segmenter are the node's
defaults on this machine. What is spent inside calls of the segmenter and the policy counts as the
models'; the rest is Segnode's own. A run with --draw-step-mm 0 has the models draw every slice. The
processor's seconds are told too: on a machine with other work the wall's say little. Writes
bench-out/abdomen.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from agent.limits import Limits
from agent.values import Target, Volume
from dicom_node.series.header import read_header
from dicom_node.volume.volume import load_volume
from models.images.slices import OnEncoded, ignore_progress
from models.loaded_models import LoadedModels, PreparedVolume, open_workbench
from models.runtime.resources import Precision, Resources
from server.commands.console import say, table
from server.demo.sample import prepare_sample
from server.pipeline import Pipeline, read_series
from server.rules.catalogue import load_catalogue
from server.study.workfolder import EncodingStore
from server.values import Assignment

SLICES = 300
DRAW_STEP_MM = 4.0  # config/default.toml's
MOST_NOT_MODELS = 0.10
SLICES_KEPT = "slices shown, encodings kept"
TARGETS = ("liver", "spleen", "stomach", "aorta", "left_kidney")


class Stopwatch:
    """Seconds spent inside the models; what a call spends in another one (a planner that has a
    slice encoded) is the other's.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._within_s = [0.0]  # of the calls under way, what was spent in calls within them

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Count the block under `name`."""
        began = time.monotonic()
        self._within_s.append(0.0)
        try:
            yield
        finally:
            spent_s, within_s = time.monotonic() - began, self._within_s.pop()
            self._within_s[-1] += spent_s
            self.seconds[name] = self.seconds.get(name, 0.0) + spent_s - within_s


class Timed:
    """A model whose calls are timed; `names` maps its methods to what they are counted as."""

    def __init__(self, model: Any, watch: Stopwatch, names: dict[str, str]) -> None:
        self._model, self._watch, self._names = model, watch, names

    def __getattr__(self, name: str) -> Any:
        """The model's own attribute, timed if it is one of the methods named."""
        found = getattr(self._model, name)
        return self._timed(name, found) if name in self._names else found

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            with self._watch.on(self._names[name]):
                return call(*arguments, **named)

        return timed


class TimedBench:
    """A workbench whose slices are timed: making them ready and keeping their encodings is
    Segnode's own work, whoever asks.
    """

    def __init__(self, bench: LoadedModels, watch: Stopwatch) -> None:
        self._bench, self._watch = bench, watch

    def __getattr__(self, name: str) -> Any:
        """The workbench's own attribute."""
        return getattr(self._bench, name)

    def prepare(
        self, volume: Volume, folder: Path | None, on_encoded: OnEncoded = ignore_progress
    ) -> TimedVolume:
        """As the workbench's."""
        return TimedVolume(self._bench.prepare(volume, folder, on_encoded), self._watch)


class TimedVolume:
    """A prepared volume whose slices are timed."""

    def __init__(self, prepared: PreparedVolume, watch: Stopwatch) -> None:
        self._prepared, self._watch = prepared, watch
        self._timed: dict[int, Timed] = {}

    def __getattr__(self, name: str) -> Any:
        """The volume's own attribute."""
        return getattr(self._prepared, name)

    def slices_for(self, structure: str) -> Timed:
        """As the volume's: the same slices, the same object."""
        slices = self._prepared.slices_for(structure)
        names = dict.fromkeys(("image", "picture", "encoding"), SLICES_KEPT)
        return self._timed.setdefault(id(slices), Timed(slices, self._watch, names))


def main() -> None:
    """Measure once, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slices", nargs="?", type=int, default=SLICES)
    parser.add_argument("--precision", type=Precision, default=Precision.AUTO)
    parser.add_argument("--draw-step-mm", type=float, default=DRAW_STEP_MM)
    asked = parser.parse_args()
    slices, watch = asked.slices, Stopwatch()
    resources = Resources(precision=asked.precision, draw_step_mm=asked.draw_step_mm)
    models = open_workbench("locator", "litemedsam", resources=resources)
    bench = TimedBench(timed_bench(models, watch), watch)
    with tempfile.TemporaryDirectory(prefix="segnode-bench-") as name:
        folder = Path(name)
        (folder / "sample").mkdir()
        write_stretched(prepare_sample(folder / "sample").files, folder / "study", slices)
        before = os.times()
        stages = measure(bench, folder, Limits(draw_step_mm=asked.draw_step_mm))
        after = os.times()
    processor_s = after.user + after.system - before.user - before.system
    report(slices, stages, watch.seconds, processor_s)


def timed_bench(bench: LoadedModels, watch: Stopwatch) -> LoadedModels:
    """The workbench with policy and segmenter under the watch."""
    drawing = {"encode": "encoder", "segment": "decoder", "segment_many": "decoder"}
    planning = dict.fromkeys(("localise", "act", "score", "assess"), "planner")
    return replace(
        bench,
        segmenter=Timed(bench.segmenter, watch, drawing),
        policy=Timed(bench.policy, watch, planning),
    )


def measure(bench: TimedBench, folder: Path, limits: Limits) -> dict[str, float]:
    """Seconds of each stage of the study in `folder`/study."""
    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        seconds[name] = time.monotonic() - began

    with stage("index"):
        headers = [read_header(path) for path in sorted((folder / "study").iterdir())]
    pipeline = Pipeline(
        load=lambda _: read_series(headers),
        folder=lambda request_id: folder / request_id,
        encodings=EncodingStore(folder / "encodings", limit_bytes=10**10),
        workbench=lambda _: bench,
        catalogue=load_catalogue(),
        limits=limits,
    )
    asked = tuple(Target(key, key) for key in TARGETS)
    assignment = Assignment("bench", headers[0].study_instance_uid, 1, None, asked)
    with stage("volume"):
        pipeline.select(assignment)
    with stage("outline"):
        for index in range(len(asked)):
            pipeline.outline(assignment, index, lambda _: None)
    with stage("follow"):
        pipeline.follow(assignment, lambda _, __: None)
    with stage("carry, review"):
        summaries = [
            pipeline.finish(assignment, index, lambda _: None) for index in range(len(asked))
        ]
    with stage("write, check"):
        pipeline.write(assignment, summaries)
    for one in summaries:
        say(f"{one.text}: {one.status}, {one.volume_ml or 0:.0f} ml, {one.turns} turns")
        for warning in one.warnings:
            say(f"  {warning}")
    return seconds


def write_stretched(files: Sequence[Path], out: Path, slices: int) -> None:
    """The CT in `files` as `slices` slices at its own step, interpolated between its own."""
    out.mkdir()
    volume = load_volume([read_header(path) for path in files])
    template = pydicom.dcmread(volume.frames[0].path)
    template.decompress()
    template.RescaleSlope, template.RescaleIntercept = 1, -1024
    template.BitsAllocated, template.BitsStored, template.HighBit = 16, 16, 15
    template.PixelRepresentation = 0
    step_mm = volume.affine_zyx_to_lps[:3, 0]
    origin_mm = volume.affine_zyx_to_lps[:3, 3]
    for n in range(slices):
        hu = _between(volume.intensities, n * (len(volume.intensities) - 1) / (slices - 1))
        template.PixelData = (hu + 1024).clip(0, 65535).round().astype("<u2").tobytes()
        template.ImagePositionPatient = [round(float(v), 4) for v in origin_mm + n * step_mm]
        template.InstanceNumber = n + 1
        template.SOPInstanceUID = f"{template.SeriesInstanceUID}.{n + 1}"
        template.file_meta.MediaStorageSOPInstanceUID = template.SOPInstanceUID
        template.save_as(out / f"{n:04d}.dcm")


def _between(volume: NDArray[np.float32], z: float) -> NDArray[np.float32]:
    lower = int(z)
    upper = min(lower + 1, len(volume) - 1)
    share = np.float32(z - lower)
    return (1 - share) * volume[lower] + share * volume[upper]


def report(
    slices: int, stages: dict[str, float], models: dict[str, float], processor_s: float
) -> None:
    """Print the table and write bench-out/abdomen.json."""
    total_s = sum(stages.values())
    models_s = sum(seconds for name, seconds in models.items() if name != SLICES_KEPT)
    own = 1 - models_s / total_s
    rows = [(name, f"{seconds:.1f}") for name, seconds in stages.items()]
    rows += [(f"  of it {name}", f"{seconds:.1f}") for name, seconds in models.items()]
    rows += [("in all", f"{total_s:.1f}"), ("not the models'", f"{100 * own:.1f} %")]
    rows += [("of the processor", f"{processor_s:.1f}")]
    table((f"{slices} slices, {len(TARGETS)} targets", "seconds"), rows)
    met = "met" if own < MOST_NOT_MODELS else "missed"
    say(f"wanted under {100 * MOST_NOT_MODELS:.0f} %: {met}")
    out = Path("bench-out")
    out.mkdir(exist_ok=True)
    content = {
        "slices": slices,
        "stages_s": stages,
        "models_s": models,
        "own_share": own,
        "processor_s": processor_s,
    }
    (out / "abdomen.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
