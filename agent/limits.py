"""The budgets of the agent's work, and the thresholds above which a mask is doubted."""

from __future__ import annotations

from dataclasses import dataclass, fields

from agent.values import Role


@dataclass(frozen=True)
class Limits:
    """Budgets and thresholds of an episode and of the way through a volume.

    Raises ValueError when a count is below one or a threshold is negative.
    """

    max_turns: int = 5  # turns on a key slice; the papers find no gain beyond five
    carry_turns: int = 2  # one to draw, one to correct: the neighbour's mask gives most of it
    review_turns: int = 3  # turns on a slice under review
    key_slices: int = 3  # key slices worked on in full: a structure may lie in parts far apart
    refusals_in_a_row: int = 3  # replies without effect before the episode ends
    stalls_in_a_row: int = 2  # duplicates and unchanged masks before the episode ends
    undo_px: float = 3.0  # an opposite click this near removes the earlier one
    absent_below: float = 0.5  # "absent" discards a mask only when its score is below this
    # a planner that looked at the slice is believed: its "absent", said twice, discards any mask
    # and bars the way, its "stop" confirms a mask in doubt. False for one that reckons
    planner_decides: bool = False
    # the last mask stands whatever its score, as in both papers. With a reader who misjudges one
    # mask in five that costs 0.067 of Dice against the best score (0.756, 0.823; 129 structures)
    keep_last: bool = False
    end_after: int = 2  # slices without the structure before it has ended
    presence_floor: float = 0.02  # slices of lower presence are not worked on
    radius_jump: float = 1.6  # growth of the equivalent radius between neighbours (2.5 in area)
    least_overlap: float = 0.2  # share of the smaller mask that must lie on its neighbour
    review_slices: int = 12  # slices the review may work on, the worst first
    inspected_slices: int = 4  # slices corrected after the policy's assessment of the whole
    least_sure: float = 0.5  # a propagated object ends where the model's score is lower
    settled_overlap: float = 0.98  # Dice with the earlier mask at which a correction ends
    draw_step_mm: float = 0.0  # closer slices are drawn this far apart at most; 0: each is drawn
    fill_agreement: float = 0.9  # Dice of two drawn slices from which those between need no model

    def __post_init__(self) -> None:
        for field in fields(self):
            least = 1 if field.type == "int" else 0
            if not getattr(self, field.name) >= least:
                raise ValueError(f"limit {field.name} must be at least {least}")

    def turns(self, role: Role) -> int:
        """Most turns of an episode of `role`; KeyError for a role without episodes."""
        return {
            Role.KEY: self.max_turns,
            Role.CARRY: self.carry_turns,
            Role.REVIEW: self.review_turns,
        }[role]
