"""What a test needs to be there before it looks at it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.values import Segmentation


def mask_of(segmentation: Segmentation | None) -> NDArray[np.bool_]:
    """The mask of what was drawn; the test fails if nothing was."""
    assert segmentation is not None
    return segmentation.mask
