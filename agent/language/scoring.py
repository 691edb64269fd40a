"""How good a mask is, 0..1, where the planner is a language model and gives no figure itself.

Serving, training and evaluation keep the best mask by this one function of what the segmenter says;
no truth goes into it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.ports import Observation
from agent.values import Segmentation

_STABILITY_OFFSET = 1.0  # of the logits, as SAM's automatic masks are judged
_NEIGHBOUR_WEIGHT = 0.25  # of the neighbour's mask in a score: shapes change between slices


def mask_score(observation: Observation, segmentation: Segmentation) -> float:
    """The mean of the segmenter's predicted IoU and of the mask's stability under a shifted
    threshold; beside a slice with a mask, a quarter of it is the Dice with that mask.
    """
    opinions = [min(max(segmentation.predicted_iou, 0.0), 1.0), *_stability(segmentation)]
    own_score = float(np.mean(opinions))
    if observation.carried is None or not observation.carried.any():
        return own_score
    agreement = _dice(observation.carried, segmentation.mask)
    return (1 - _NEIGHBOUR_WEIGHT) * own_score + _NEIGHBOUR_WEIGHT * agreement


def _stability(segmentation: Segmentation) -> tuple[float, ...]:
    """IoU of the masks at a higher and at a lower threshold, SAM's stability score; () without
    logits. The higher mask lies within the lower, so the IoU is the ratio of their areas.
    """
    wider = np.count_nonzero(segmentation.logits > -_STABILITY_OFFSET)
    if not wider:
        return ()
    return (float(np.count_nonzero(segmentation.logits > _STABILITY_OFFSET) / wider),)


def _dice(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    total = np.count_nonzero(mask) + np.count_nonzero(other)
    return float(2 * np.count_nonzero(mask & other) / total) if total else 0.0
