"""How many cores a model may use: what the process is pinned to, and what its container is
granted.
"""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota_file: Path = _CGROUP_QUOTA) -> int:
    """Cores that this process may keep busy, at least 1.

    A container limited to 2 of a host's 64 cores still sees 64, and 64 threads on 2 cores are
    slower than 2: cgroup v2's `cpu.max` ("QUOTA PERIOD" in µs, or "max PERIOD") says what is
    granted.
    """
    visible = len(os.sched_getaffinity(0))
    try:
        quota, period = quota_file.read_text().split()
        granted = int(quota) / int(period)
    except (OSError, ValueError):  # no cgroup, or "max": no limit
        return visible
    return max(1, min(visible, round(granted)))
