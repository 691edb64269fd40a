"""What a simulated reader says beside an action: why, and where the mask is wrong.

Short and true of the picture, for dialects whose replies hold a thought. Places are as one sees
them: left is the picture's left.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.training.clicks import LargerError

_NEAR = 1 / 3  # of the half size: nearer to the centre is in the middle


def opening_sentence(truth: NDArray[np.bool_]) -> str:
    """Before the first action: where in the picture the structure lies."""
    rows, columns = truth.shape
    where = _place(truth, (rows - 1) / 2, (columns - 1) / 2, rows / 2, columns / 2)
    return f"There is no mask yet. The target lies {where} of the picture."


def correcting_sentence(error: LargerError, truth: NDArray[np.bool_]) -> str:
    """Before a correction: what is wrong, and where as seen from the structure's middle."""
    rows, columns = np.nonzero(truth)
    spans = (rows.max() - rows.min() + 1) / 2, (columns.max() - columns.min() + 1) / 2
    where = _place(error.region, float(rows.mean()), float(columns.mean()), *spans)
    if error.missing:
        return f"The mask leaves out a part {where} of the target."
    return f"The mask goes beyond the target {where}."


def closing_sentence(iou: float, satisfied_iou: float) -> str:
    """Before the end, of a mask of this IoU with the truth."""
    if iou >= satisfied_iou:
        return "The mask covers the target."
    return "The mask covers the target as well as can be had here."


def undoing_sentence(sentence: str) -> str:
    """Before the repair of an action that was wrong, and whose repair says `sentence`."""
    return f"The last action was wrong. {sentence}"


ABSENT_REASON = "nothing in this image looks like it"


def _place(
    region: NDArray[np.bool_],
    centre_row: float,
    centre_column: float,
    half_rows: float,
    half_columns: float,
) -> str:
    """Where the middle of a region lies, seen from a centre, in words."""
    rows, columns = np.nonzero(region)
    down = (float(rows.mean()) - centre_row) / half_rows
    right = (float(columns.mean()) - centre_column) / half_columns
    vertical = "top" if down < -_NEAR else "bottom" if down > _NEAR else ""
    horizontal = "left" if right < -_NEAR else "right" if right > _NEAR else ""
    if not vertical and not horizontal:
        return "in the middle"
    return f"at the {' '.join(word for word in (vertical, horizontal) if word)}"
