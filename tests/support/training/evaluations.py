"""Folders of evaluations for tests: one target a patient, with the score that is wanted."""

from __future__ import annotations

from pathlib import Path

from agent.values import TargetStatus
from models.evaluation.metrics import Quality
from models.evaluation.records import Shard, TargetRecord, append
from models.evaluation.run_folder import Run, begin, end_part

RUN = Run("slices", "validation", "transformers", "litemedsam", ("a", "b"), (), 5)


def record(patient: int, dice: float, *, failed: bool = False) -> TargetRecord:
    return TargetRecord(
        case_id=f"case-{patient}",
        patient=f"patient-{patient}",
        dataset="toy",
        split="validation",
        modality="CT",
        depth=1,
        target="liver",
        structure="liver",
        method="transformers",
        present=True,
        truth_digest="t",
        status=TargetStatus.FAILED if failed else TargetStatus.SEGMENTED,
        answered=not failed,
        quality=Quality(dice, dice / (2 - dice), None, None, None, None),
    )


def evaluation(folder: Path, scores: list[float], run: Run = RUN, *, ended: bool = True) -> Path:
    begin(folder, run, resume=False)
    append(Shard().file(folder), [record(i, score) for i, score in enumerate(scores)])
    if ended:
        end_part(folder, Shard(), len(scores), [])
    return folder
