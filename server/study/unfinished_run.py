"""What a run on local files left behind when it was killed: taken up by the same run, and no other.

Every stage of server.pipeline leaves its files whole or not at all, and goes on from those that are
there; here it is decided whether they are of the same question.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from agent.values import Target
from server.files import private_folder, write_json

_RUN = "run.json"


def run_identity(path: Path, targets: Sequence[Target], modality: str, models: str) -> str:
    """Tells runs apart: what lies at `path` (names, sizes, times), what is asked for, the `models`
    in their settings' words, and the version of the program.
    """
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    stats = [(str(file.absolute()), file.stat()) for file in files]
    content = [
        [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats],
        [[target.text, target.structure] for target in targets],
        modality,
        models,
        version("segnode"),
    ]
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


def take_up(work: Path, identity: str) -> bool:
    """Whether `work` holds an unfinished run of this identity; it is emptied where it does not."""
    record = work / _RUN
    try:
        same = bool(json.loads(record.read_text("utf-8")) == {"identity": identity})
    except (OSError, ValueError):
        same = False
    if not same:
        shutil.rmtree(work, ignore_errors=True)
        write_json(private_folder(work) / record.name, {"identity": identity})
    return same
