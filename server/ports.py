"""The seam between the record's workflow and the pipeline. The fake is server/fakes.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from agent.turns import Turn
from server.values import Assignment, ResultSummary, Selection, TargetSummary


class Stages(Protocol):
    """The stages of one study, in order. Each is idempotent: run again after a crash it gives the same, and
    what an earlier one left in the work folder is used, not made again.
    """

    def select(self, assignment: Assignment) -> Selection:
        """Choose the series and make it a volume on disk; raises dicom_node.errors.NotAVolume -> REJECTED."""

    def segment(
        self, assignment: Assignment, index: int, on_turn: Callable[[Turn], None]
    ) -> TargetSummary:
        """Work on one target; every turn is told as it happens; the mask is left in the work folder.

        An unknown target is a summary with status failed, not an error.
        """

    def write(
        self, assignment: Assignment, targets: Sequence[TargetSummary]
    ) -> tuple[ResultSummary, ...]:
        """Write SEG (unless nothing was segmented) and SR, read them back, compare with the masks."""

    def discard(self, assignment: Assignment) -> None:
        """Remove intermediate files of a request that has ended (results and trace stay)."""
