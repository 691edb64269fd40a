"""What a simulated reader is like, and what its trajectories must come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum


class TrajectoryKind(StrEnum):
    """What a trajectory shows."""

    BOX_TO_POINT = "box-to-point"  # a box, then corrections of what is left
    SEQUENTIAL_CLICK = "sequential-click"  # clicks only
    MIXED = "mixed"  # a loose start of either kind, then either
    ABSENT = "absent"  # the structure is not there, and that is said
    SELF_CORRECTION = "self-correction"  # an action that is wrong on purpose, seen and repaired
    CARRY = "carry"  # a slice beside one that is drawn, whose outline is shown
    REVIEW = "review"  # a slice of a volume whose mask is wrong, drawn anew
    VOLUME = "volume"  # a question about the whole volume


_MIX = {
    TrajectoryKind.BOX_TO_POINT: 0.5,
    TrajectoryKind.MIXED: 0.2,
    TrajectoryKind.SELF_CORRECTION: 0.2,
    TrajectoryKind.SEQUENTIAL_CLICK: 0.1,
}


@dataclass(frozen=True)
class ReaderSettings:
    """The simulated reader of MedSAM-Agent and IBISAgent, with what neither says decided here.

    IoU is of a mask with the truth, 0..1; pixels are the slice's own. ValueError for a figure that
    is out of its bounds.
    """

    least_gain: float = 0.01  # IoU that a turn must bring; the paper has 0.01 to 0.02
    retries: int = 5  # tries of one turn before the reader stops; the paper has about 5
    satisfied_iou: float = 0.9  # no more is asked: two readers of a large organ agree so far
    least_final_iou: float = 0.7  # a trajectory that ends below is dropped; IBISAgent stops at 0.8
    jitter_px: tuple[float, float] = (5.0, 20.0)  # of a box's side, in an image of `jitter_side_px`
    jitter_side_px: int = 512  # smaller images have less: 5 px of 64 are a structure's half
    jitter_share: float = 0.2  # of the structure's own side at most, or a small one is lost
    outward: float = 0.75  # share of a box's sides that are moved outwards: readers draw round
    loose: float = 2.0  # times the jitter for the loose start of a mixed trajectory
    near_share: float = 0.5  # of the largest distance: a click is resampled from pixels this deep
    wrong_iou: float = 0.5  # a wrong action leaves at most this, or it was none
    absent_chance: float = 0.5  # an absent truth becomes a trajectory this often: they abound
    mix: Mapping[TrajectoryKind, float] = field(default_factory=lambda: dict(_MIX))  # shares

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if isinstance(value, float) and setting.name != "loose" and not 0 <= value <= 1:
                raise ValueError(f"{setting.name} is a share from 0 to 1, not {value}")
        if self.retries < 1 or self.jitter_side_px < 1 or self.loose < 1:
            raise ValueError("retries, jitter_side_px and loose are at least 1")
        if not 0 <= self.jitter_px[0] <= self.jitter_px[1]:
            raise ValueError(f"jitter_px is (least, most), not {self.jitter_px}")
        if not set(self.mix) <= set(_MIX) or sum(self.mix.values()) <= 0:
            raise ValueError(f"mix gives shares of {', '.join(_MIX)}")
        if min(self.mix.values()) < 0:
            raise ValueError("no share of the mix is below 0")
