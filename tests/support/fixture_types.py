"""What fixtures of the conftests give, where it is more than a class: by these names the tests that
take them are typed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Clock = Callable[[], float]
"""Seconds; it moves only when it is looked at."""

DrawSquare = Callable[..., NDArray[np.bool_]]
"""(left, top, side) in pixels to a mask (32, 32)."""

RunToEnd = Callable[[Generator[Any, None, Any]], tuple[list[Any], Any]]
"""All that a generator yields, and what it returned."""

PlannerFolders = Callable[[str], Path]
"""A family of planners to the folder of a small random model of it."""
