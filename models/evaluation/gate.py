"""Whether a trained policy may take the place of the one in use: two evaluations, compared.

"No difference was shown" is no proof: with few patients nothing is ever shown. So the rule is that
of a non-inferiority trial. The new policy is accepted only where even the lower end of the 95 %
interval of the paired difference over patients is no worse than a margin that was named before.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.errors import EvaluationFailed
from models.evaluation.comparison import compare
from models.evaluation.records import parts_missing
from models.evaluation.run_folder import Run, read_run, records_of_policy

MARGIN = 0.01
"""Of the score (Dice, an absence rightly answered counting 1): two readers differ by more."""

LEAST_PATIENTS = 6
"""Fewer cannot reject by a two-sided sign test at 5 % even where all of them get worse."""

_FIGURE = "score"


@dataclass(frozen=True)
class Verdict:
    """What the gate says: whether the policy is `accepted`, why in a sentence, and the mean paired
    `difference` over `patients` (new less old, in score) with its 95 % interval `low`..`high` and
    the `p_value` of the permutation test.
    """

    accepted: bool
    reason: str
    difference: float
    low: float | None
    high: float | None
    p_value: float
    patients: int


def judge(candidate: Path, current: Path, margin: float = MARGIN) -> Verdict:
    """Compare the evaluations in two folders: of the policy to be put in use, and of the one that
    is. EvaluationFailed unless both are whole, on the same targets, with the same segmenter and
    budget. ValueError for a margin outside 0..1.
    """
    if not 0 <= margin <= 1:
        raise ValueError(f"a margin is 0 to 1, not {margin}")
    new, old = whole_run(candidate), whole_run(current)
    _refuse_other_conditions(new, old, current)
    figures = compare(records_of_policy(candidate), records_of_policy(current), current)[_FIGURE]
    if figures is None:
        raise EvaluationFailed(f"{candidate} has no target with a score: evaluate it again")
    difference = figures["difference"]
    patients, low = difference["patients"], difference["low"]
    accepted, reason = _ruled(difference["mean"], low, patients, margin)
    return Verdict(
        accepted,
        reason,
        difference["mean"],
        low,
        difference["high"],
        figures["p_value"],
        patients,
    )


def whole_run(folder: Path) -> Run:
    """The run in `folder`; EvaluationFailed where a part of it has not ended."""
    run = read_run(folder)
    missing = parts_missing(folder)
    if missing:
        raise EvaluationFailed(
            f"{folder} has not ended ({', '.join(missing)} missing): go on with it by --resume"
        )
    return run


def _refuse_other_conditions(new: Run, old: Run, folder: Path) -> None:
    """What differs beside the policy would be taken for the policy's doing."""
    pairs = {
        "segmenter": (new.segmenter, old.segmenter),
        "segmenter's weights": (new.weights[1:], old.weights[1:]),
        "most turns": (new.max_turns, old.max_turns),
    }
    other = [name for name, (ours, theirs) in pairs.items() if ours != theirs]
    if other:
        raise EvaluationFailed(
            f"{folder} was run under other conditions ({', '.join(other)}): evaluate both alike"
        )


def _ruled(mean: float, low: float | None, patients: int, margin: float) -> tuple[bool, str]:
    if patients < LEAST_PATIENTS or low is None:
        return False, (
            f"{patients} patients are too few to tell whether it is worse: "
            f"evaluate both on {LEAST_PATIENTS} or more"
        )
    shown = f"the score changes by {mean:+.3f} over {patients} patients, at worst {low:+.3f}"
    if low >= -margin:
        return True, f"{shown}: no worse than the margin of {margin:g}"
    return False, f"{shown}: that may be worse than the margin of {margin:g}"
