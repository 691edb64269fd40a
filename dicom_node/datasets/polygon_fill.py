"""Which pixels lie inside closed polygons, by the even-odd rule."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def inside_polygons(
    polygons: Iterable[NDArray[np.float64]], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """The pixels (rows, columns) bool whose centres lie inside an odd number of `polygons`.

    A polygon is (n, 2) as (row, column), zero at the centre of the first pixel, closed from its
    last point to its first; one inside another is a hole. A centre on an edge counts with the
    pixels below it and to its right, so that polygons that share an edge share no pixel. What lies
    beyond the slice is cut off.
    """
    rows, columns = shape
    toggles = np.zeros((rows, columns + 1), dtype=np.int64)
    for polygon in polygons:
        _toggle(polygon, np.roll(polygon, -1, axis=0), toggles)
    # left of a crossing is outside, right of it inside: the count of crossings so far tells
    return np.asarray(np.cumsum(toggles, axis=1)[:, :columns] % 2 == 1)


def _toggle(
    starts: NDArray[np.float64], ends: NDArray[np.float64], toggles: NDArray[np.int64]
) -> None:
    """Count for each row of pixel centres where the edges cross it."""
    rows, last_column = toggles.shape[0], toggles.shape[1] - 1
    for (row, column), (end_row, end_column) in zip(starts, ends, strict=True):
        if row == end_row:
            continue
        upper, lower = min(row, end_row), max(row, end_row)
        # an edge owns its upper end and not its lower one
        crossed = np.arange(max(int(np.ceil(upper)), 0), min(int(np.ceil(lower)), rows))
        along = (crossed - row) / (end_row - row)  # 0 at the edge's start, 1 at its end
        at = np.ceil(column + (end_column - column) * along)
        np.add.at(toggles, (crossed, np.clip(at, 0, last_column).astype(int)), 1)
