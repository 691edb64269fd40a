"""A folder of trajectories as a whole: its manifest, its records, its figures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.errors import ExportFailed
from models.runtime.cache import write_atomically
from models.training.exports.records import VERSION
from models.training.exports.trajectory_shard import read_journal

MANIFEST = "manifest.json"
KIND = "segnode-trajectories"


@dataclass(frozen=True)
class FolderFigures:
    """What lies in a folder: cases that are `done` and that `failed` (case -> why), trajectories
    `kept` and `dropped` by reason, `turns` of those kept; kept ones by kind, role, structure,
    modality and split; `patients`; the mean IoU at the end of those that end with a mask.
    """

    done: int = 0
    kept: int = 0
    turns: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, int] = field(default_factory=dict)
    roles: Mapping[str, int] = field(default_factory=dict)
    structures: Mapping[str, int] = field(default_factory=dict)
    modalities: Mapping[str, int] = field(default_factory=dict)
    splits: Mapping[str, int] = field(default_factory=dict)
    patients: int = 0
    mean_final_iou: float | None = None

    @property
    def share_kept(self) -> float:
        """Of all trajectories that were made, 0..1; 0 of none."""
        made = self.kept + sum(self.dropped.values())
        return self.kept / made if made else 0.0

    @property
    def mean_turns(self) -> float:
        """Turns of a trajectory that was kept; 0 of none."""
        return self.turns / self.kept if self.kept else 0.0


def begin_folder(folder: Path, settings: Mapping[str, Any], source: Mapping[str, Any]) -> None:
    """Write the manifest of a folder that begins, with the `settings` that its trajectories depend
    on and the data set's `source`; a further source is added to those there. ExportFailed where
    trajectories of other settings lie there.
    """
    plain = json.loads(json.dumps(settings))
    earlier = read_manifest(folder)
    if earlier is None:
        _write_manifest(folder, {"settings": plain, "sources": [dict(source)], "figures": {}})
        return
    known = earlier["settings"]
    others = sorted(key for key in {*plain, *known} if plain.get(key) != known.get(key))
    if others:
        raise ExportFailed(
            folder,
            f"the trajectories there were made with another {', '.join(others)}: name another "
            "folder",
        )
    if dict(source) not in earlier["sources"]:
        _write_manifest(folder, {**earlier, "sources": [*earlier["sources"], dict(source)]})


def end_folder(folder: Path) -> FolderFigures:
    """Count what lies in the folder, write that into its manifest, and give it."""
    figures, manifest = figures_of(folder), read_manifest(folder)
    if manifest is None:
        raise ExportFailed(folder, f"it has no {MANIFEST}: no trajectories were made there")
    counts = {**vars(figures), "share_kept": figures.share_kept, "mean_turns": figures.mean_turns}
    _write_manifest(folder, {**manifest, "figures": counts})
    return figures


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What the manifest says; None where there is none. ExportFailed for another program's."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_bytes())
        if manifest["kind"] != KIND or manifest["version"] != VERSION:
            raise ValueError("it is of another kind or version")
    except (ValueError, TypeError, KeyError) as fault:
        raise ExportFailed(path, f"it is no manifest of trajectories ({fault})") from fault
    content: dict[str, Any] = manifest
    return content


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """All trajectories in the order of the shards, each as written (records.py). ExportFailed for
    a line that is no trajectory; a last line that is not whole is left out.
    """
    for path in sorted(folder.glob("trajectories-*.jsonl")):
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.endswith(b"\n"):
                    yield _record(line, path, number)


def figures_of(folder: Path) -> FolderFigures:
    """The figures of what lies in a folder, whatever of it is done."""
    rows = [row for path in sorted(folder.glob("progress-*.jsonl")) for row in read_journal(path)]
    dropped: Counter[str] = Counter()
    for row in rows:
        dropped.update(row.dropped)
    kinds, roles, structures, modalities, splits = (Counter[str]() for _ in range(5))
    patients, ious = set(), []
    for record in records(folder):
        kinds[record["kind"]] += 1
        roles[record["turns"][0]["role"]] += 1
        structures[record["target"]["text"]] += 1
        modalities[record["modality"]] += 1
        splits[record["split"]] += 1
        patients.add((record["dataset"], record["patient"]))
        if record["ious"][-1] is not None:
            ious.append(record["final_iou"])
    return FolderFigures(
        done=len(rows),
        kept=sum(row.kept for row in rows),
        turns=sum(row.turns for row in rows),
        dropped=dict(sorted(dropped.items())),
        failed={row.case: row.failed for row in rows if row.failed},
        kinds=dict(sorted(kinds.items())),
        roles=dict(sorted(roles.items())),
        structures=dict(sorted(structures.items())),
        modalities=dict(sorted(modalities.items())),
        splits=dict(sorted(splits.items())),
        patients=len(patients),
        mean_final_iou=sum(ious) / len(ious) if ious else None,
    )


def _record(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
        if record["version"] != VERSION:
            raise ValueError(f"it is of version {record['version']}")
    except (ValueError, TypeError, KeyError) as fault:
        raise ExportFailed(path, f"line {number} is no trajectory ({fault})") from fault
    trajectory: dict[str, Any] = record
    return trajectory


def _write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps({"kind": KIND, "version": VERSION, **content}, indent=1, ensure_ascii=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / MANIFEST, f"{text}\n".encode())
    except OSError as fault:
        raise ExportFailed(
            folder / MANIFEST, f"it cannot be written ({fault.strerror or fault}); make room"
        ) from fault
