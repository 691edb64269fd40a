"""How long to wait before the next try. Policy (how many tries, where they are kept) is the
server's.
"""

from __future__ import annotations

from collections.abc import Callable


def delay_s(
    attempt: int,
    base_s: float,
    factor: float,
    maximum_s: float,
    jitter: float,
    random: Callable[[], float],
) -> float:
    """Seconds to wait after failed try number `attempt` (one-based).

    Exponential, `base_s * factor ** (attempt - 1)`, never above `maximum_s`, then shortened by up
    to the share `jitter` (0..1) so that requests which failed together do not come back together.
    `random` gives numbers in [0, 1): `random.random`, or a constant in a test. ValueError for an
    attempt below 1 or values out of range.

    >>> delay_s(3, 5.0, 2.0, 600.0, 0.0, lambda: 0.5)
    20.0
    """
    if attempt < 1:
        raise ValueError(f"attempts are counted from 1, not {attempt}")
    if base_s < 0 or factor < 1 or maximum_s < base_s or not 0 <= jitter <= 1:
        raise ValueError(
            "back-off needs 0 <= base_s <= maximum_s, factor >= 1 and jitter within 0..1"
        )
    waited = base_s
    for _ in range(attempt - 1):
        waited *= factor
        if waited >= maximum_s:  # stop early: factor ** 10_000 has no float
            break
    return min(waited, maximum_s) * (1.0 - jitter * random())
