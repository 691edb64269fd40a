"""What a run's folder says of itself: data, models and baselines, so that nothing is mixed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from models.errors import EvaluationFailed
from models.evaluation.records import Shard, TargetRecord, read_records
from models.runtime.cache import write_atomically

RUN_FILE = "run.json"


@dataclass(frozen=True)
class Run:
    """What is evaluated: `data` as it was named, its `split` ("" for all), who plans and draws, the
    SHA-256 of their `weights`, the `baselines` and the most turns.
    """

    data: str
    split: str
    policy: str
    segmenter: str
    weights: tuple[str, ...]
    baselines: tuple[str, ...]
    max_turns: int
    version: int = 1


def begin(folder: Path, run: Run, *, resume: bool) -> None:
    """Make the folder of a run, or enter it again. EvaluationFailed where there is a run and
    `resume` is not said, or where it is another one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / RUN_FILE
    if not file.exists():
        write_atomically(file, json.dumps(asdict(run), indent=2).encode())
        return
    if not resume:
        raise EvaluationFailed(
            f"{folder} holds a run already: say --resume to go on with it, or name another folder"
        )
    earlier = read_run(folder)
    for field in fields(Run):
        before, now = getattr(earlier, field.name), getattr(run, field.name)
        if before != now:
            raise EvaluationFailed(
                f"{folder} holds another run: its {field.name} is {_shown(before)}, now it would "
                f"be {_shown(now)}; name another folder"
            )


def read_run(folder: Path) -> Run:
    """What `folder` says of its run; EvaluationFailed where it holds none."""
    try:
        content: dict[str, Any] = json.loads((folder / RUN_FILE).read_text("utf-8"))
        for name in ("weights", "baselines"):
            content[name] = tuple(content[name])
        return Run(**content)
    except OSError as fault:
        raise EvaluationFailed(
            f"{folder} holds no evaluation (no {RUN_FILE}): name the folder that was --out"
        ) from fault
    except (ValueError, TypeError, KeyError) as fault:
        raise EvaluationFailed(f"{folder / RUN_FILE} cannot be read: {fault}") from fault


def end_part(folder: Path, shard: Shard, cases: int, skipped: list[dict[str, str]]) -> None:
    """Say that a part has ended: with how many cases, and which files could not be used."""
    content = json.dumps({"cases": cases, "skipped": skipped}, indent=2)
    write_atomically(shard.end_file(folder), content.encode())


def skipped_files(folder: Path) -> list[dict[str, str]]:
    """The files that any part could not use, each once."""
    named: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("targets-*.end.json")):
        for skipped in json.loads(path.read_text("utf-8"))["skipped"]:
            named[skipped["file"]] = skipped
    return list(named.values())


def records_of_policy(folder: Path) -> list[TargetRecord]:
    """The lines of a run's policy; EvaluationFailed where it holds no run, or none of them."""
    policy = read_run(folder).policy
    records = [record for record in read_records(folder) if record.method == policy]
    if not records:
        raise EvaluationFailed(f"{folder} has no line of its policy {policy} yet")
    return records


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else repr(value)
