"""What fixtures of the conftests give, where it is more than a class: by these names the tests that
take them are typed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.fakes import ScriptedPolicy, ScriptedSegmenter
from agent.turns import Episode, TargetResult, Turn

Clock = Callable[[], float]
"""Seconds; it moves only when it is looked at."""

DrawSquare = Callable[..., NDArray[np.bool_]]
"""(left, top, side) in pixels to a mask (32, 32)."""

RunToEnd = Callable[[Generator[Any, None, Any]], tuple[list[Any], Any]]
"""All that a generator yields, and what it returned."""

PlayEpisode = Callable[..., tuple[list[Turn], Episode, ScriptedSegmenter, ScriptedPolicy]]
"""Replies, and what the segmenter answers to them, to the episode that comes of them."""

PlayTarget = Callable[..., tuple[list[Turn], TargetResult, ScriptedPolicy]]
"""Scripts of the key slices, of carrying and of review to a target's way through nine slices."""

PlannerFolders = Callable[[str], Path]
"""A family of planners to the folder of a small random model of it."""
