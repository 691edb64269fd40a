"""The outline of a mask's slice as closed polygons that fill to the same pixels.

The outline of a mask goes between its pixels. Each unit edge there has the mask on one side; the
polygon goes through the middles of these edges, half-way between the centre of a pixel that is in
and one that is not (marching squares at one half). So corners are cut, but no centre changes sides:
filling by pixel centres gives the mask back exactly.

Pixels that touch at a corner alone are apart, so no polygon touches another or itself, and holes
are left as rings of their own until a channel of no width joins each to the ring around it: the
"keyhole" of PS3.3 C.8.8.6.3, which every reader fills in the same way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# a corner of pixels is (row, column) in halves: the pixel (r, c) has its centre at (2r, 2c)
Corner = tuple[int, int]
Step = tuple[int, int]
Ring = list[Corner]

# from corner to corner, the mask on the right hand
_RIGHT, _DOWN, _LEFT, _UP = (0, 2), (2, 0), (0, -2), (-2, 0)
_TURN_RIGHT = {_RIGHT: _DOWN, _DOWN: _LEFT, _LEFT: _UP, _UP: _RIGHT}


def outlines(plane: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """The polygons (n, 2) of (row, column), zero at the centre of the first pixel, that enclose the
    pixel centres of a mask (rows, columns) and no others.

    Each is closed from its last point to its first. Holes are joined to the polygon around them.
    """
    outer: list[Ring] = []
    holes: list[Ring] = []
    for ring in _rings(plane):
        (outer if _is_outer(ring) else holes).append(ring)
    joined = _keyholes(outer, holes)
    return [np.array(_without_straight(ring), dtype=np.float64) / 2 for ring in joined]


def _rings(plane: NDArray[np.bool_]) -> list[Ring]:
    """The closed ways along the mask's edge, through the middles of its unit edges."""
    steps = _steps(plane)
    return [_walked(steps, corner) for corner in sorted(steps) for _ in range(2) if steps[corner]]


def _walked(steps: dict[Corner, set[Step]], corner: Corner) -> Ring:
    """The way from a corner back to it; its steps are taken out of `steps`."""
    step = min(steps[corner])
    ring: Ring = []
    while at_hand := steps[corner]:
        if step not in at_hand or len(at_hand) > 1:
            # where two ways meet, the one to the right keeps pixels apart that touch at a corner
            step = _TURN_RIGHT[step] if _TURN_RIGHT[step] in at_hand else min(at_hand)
        at_hand.remove(step)
        ring.append((corner[0] + step[0] // 2, corner[1] + step[1] // 2))
        corner = (corner[0] + step[0], corner[1] + step[1])
    return ring


def _steps(plane: NDArray[np.bool_]) -> dict[Corner, set[Step]]:
    """The steps that leave each corner, the mask on their right hand."""
    framed = np.pad(plane, 1)
    inside, above, left = framed[1:, 1:], framed[:-1, 1:], framed[1:, :-1]
    steps: dict[Corner, set[Step]] = {}
    for edges, start, step in (
        (inside & ~above, (-1, -1), _RIGHT),  # the upper edge of a pixel of the mask
        (above & ~inside, (-1, 1), _LEFT),  # the lower edge of the pixel above
        (inside & ~left, (1, -1), _UP),  # the left edge
        (left & ~inside, (-1, -1), _DOWN),  # the right edge of the pixel to the left
    ):
        for row, column in np.argwhere(edges).tolist():
            corner = (2 * row + start[0], 2 * column + start[1])
            steps.setdefault(corner, set()).add(step)
    return steps


def _is_outer(ring: Ring) -> bool:
    """Whether a ring goes around the mask, not around a hole: by the sign of its area."""
    points = np.array(ring)
    following = np.roll(points, -1, axis=0)
    twice_area = points[:, 1] * following[:, 0] - following[:, 1] * points[:, 0]
    return bool(twice_area.sum() > 0)


def _keyholes(outer: list[Ring], holes: list[Ring]) -> list[Ring]:
    """The outer rings with every hole joined to the ring that is met on the way to its left.

    A leftmost point of a hole is the middle of an upright edge, so it lies on a row of centres, and
    every ring that crosses this row has a point there. A ring met has points further left than the
    hole's, so from left to right each is part of an outer ring already.
    """
    ring_at = {point: ring for ring in outer for point in ring}
    on_row: dict[int, list[int]] = {}
    for row, column in ring_at:
        on_row.setdefault(row, []).append(column)
    for hole in sorted(holes, key=lambda ring: min(column for _, column in ring)):
        start = min(range(len(hole)), key=lambda place: hole[place][1])
        row, column = hole[start]
        met = (row, max(other for other in on_row[row] if other < column))
        ring = ring_at[met]
        place = ring.index(met)
        ring[place + 1 : place + 1] = [*hole[start:], *hole[:start], hole[start], met]
        for point in hole:
            ring_at[point] = ring
            on_row.setdefault(point[0], []).append(point[1])
    return outer


def _without_straight(ring: Ring) -> Ring:
    """The ring without points at which it goes straight on."""
    count = len(ring)
    kept = []
    for place, (row, column) in enumerate(ring):
        before, after = ring[place - 1], ring[(place + 1) % count]
        came = (row - before[0], column - before[1])
        goes = (after[0] - row, after[1] - column)
        # it never turns back: a channel leaves an upright edge sideways
        if came[0] * goes[1] != came[1] * goes[0]:
            kept.append((row, column))
    return kept
