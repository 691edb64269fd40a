"""Ten thousand hostile connections to a node, a sound C-ECHO and C-STORE after each hundred.

    python tests/benchmarks/bench_hostile.py [--attacks 10000] [--seed 20]

Prints how long the sound exchanges took and what the listening processes held at the start and at
the end, and ends with 1 when a sound exchange was refused or they grew. Writes
bench-out/hostile.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.support import hostile

ROOT = Path(__file__).resolve().parents[2]
WARM = 1000  # what each process loads at the first attack of a kind is no leak
GROWTH_BYTES = 64 << 20
FAKE_MODELS = '\n[agent]\npolicy = "threshold"\nsegmenter = "fake"\n'


def main(attacks: int, seed: int) -> int:
    """Run; the exit status."""
    from server.demo.archive import Archive
    from server.demo.node import running_node

    folder = Path(tempfile.mkdtemp(prefix="segnode-hostile-"))
    archive = Archive(folder / "archive")
    sound_s: list[float] = []
    with (
        archive.running(),
        running_node(folder, archive.port, ("bright",), FAKE_MODELS) as node,
    ):
        process_id = hostile.listening_process(os.getpid())
        before = hostile.footprint(process_id)
        began = time.monotonic()
        for number, attack in enumerate(hostile.attacks(seed, attacks), start=1):
            hostile.send(node.dicom_port, attack)
            if number == WARM:
                hostile.sound_exchange(node.dicom_port)
                while not node.client.get("studies"):
                    time.sleep(0.5)  # the process that reads headers is started by the first study
                before = hostile.footprint(process_id)
            if number % 100 == 0:
                sound_s.append(hostile.sound_exchange(node.dicom_port))
        seconds = time.monotonic() - began
        time.sleep(35)  # the last connections end with their deadlines
        after = hostile.footprint(process_id)
        survived = hostile.listening_process(os.getpid()) == process_id
    report = {
        "attacks": attacks,
        "seconds": seconds,
        "sound_exchange_s_median": sorted(sound_s)[len(sound_s) // 2],
        "sound_exchange_s_worst": max(sound_s),
        "before": asdict(before),
        "after": asdict(after),
        "same_process": survived,
    }
    out = ROOT / "bench-out"
    out.mkdir(exist_ok=True)
    (out / "hostile.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    for key, value in report.items():
        sys.stdout.write(f"{key:26} {value}\n")
    return 0 if survived and after.memory_bytes < before.memory_bytes + GROWTH_BYTES else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--attacks", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=20)
    given = parser.parse_args()
    sys.exit(main(given.attacks, given.seed))
