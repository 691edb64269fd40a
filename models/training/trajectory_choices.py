"""What a person chooses for a run of `segnode trajectories`; loads no model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.protocol.dialects import Dialect
from agent.training.reader_settings import ReaderSettings

EXPORTS = ("llama-factory", "rl-parquet")
"""The formats that are written beside our own when they are asked for."""


@dataclass(frozen=True)
class TrajectoryChoices:
    """`data` is where the cases lie, of one `split` (None: all), `out` the folder of trajectories.

    `per_case` for each structure of a case; `shard` (zero-based) of `shards`; `resume` goes on with
    what is there; `encodings` a folder that keeps them for the next run. ValueError for figures
    that mean nothing. With `corrections_only` nothing is learnt from but what readers corrected.
    """

    data: Path
    out: Path
    split: str | None = "training"
    per_case: int = 1
    shard: int = 0
    shards: int = 1
    resume: bool = False
    dialect: Dialect = Dialect.TOOL_CALL
    seed: int = 0
    least_final_iou: float = ReaderSettings().least_final_iou
    encodings: Path | None = None
    exports: tuple[str, ...] = ()
    publish: bool = False
    corrections_only: bool = False

    def __post_init__(self) -> None:
        if self.per_case < 1:
            raise ValueError(f"each structure has one trajectory or more, not {self.per_case}")
        if not 0 <= self.shard < self.shards:
            raise ValueError(
                f"shards are numbered from 0: there is no {self.shard} of {self.shards}"
            )
