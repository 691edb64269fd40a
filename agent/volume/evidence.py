"""How much a survey's figures say: where a structure is likely, and over what extent."""

from __future__ import annotations

from collections.abc import Sequence

LIKELY = 0.5
"""A presence from which a structure is more likely on a slice than not."""

LEAST_EXTENT_MM = 6.0
"""Along the body: no structure is thinner, while a passing likeness is."""

SUFFICIENT_SCORE = 0.5
"""What a mask on thin evidence must score to stand: as likely right as not."""


def likeliest(presence: Sequence[float]) -> float:
    """The highest presence of any slice; 0 where the survey gave no figures."""
    return max(presence, default=0.0)


def thin_evidence(presence: Sequence[float], step_mm: float) -> str:
    """A sentence where likely slices, `step_mm` apart, lie together over less than 6 mm; "" where
    there are none, where they suffice, or where the whole volume is no thicker.
    """
    longest = longest_run(presence)
    needed_mm = min(LEAST_EXTENT_MM, len(presence) * step_mm)
    if not longest or longest * step_mm >= needed_mm:
        return ""
    slices = "one slice" if longest == 1 else f"{longest} neighbouring slices"
    return (
        f"it is likely on {slices} ({longest * step_mm:.3g} mm) only, "
        f"where at least {LEAST_EXTENT_MM:.0f} mm are expected"
    )


def longest_run(presence: Sequence[float]) -> int:
    """How many neighbouring slices at most are likely to show the structure."""
    longest = length = 0
    for value in presence:
        length = length + 1 if value >= LIKELY else 0
        longest = max(longest, length)
    return longest
