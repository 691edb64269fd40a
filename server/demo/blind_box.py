"""The best answer without looking: for each structure one box for all slices.

What a planner reaches beyond it, it has seen in the picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from agent.case import Case
from agent.ports import Segmenter
from agent.training.episode_facts import overlap
from agent.values import Box, PromptKind, Prompts
from models.training.datasets.opening import open_dataset

_CANDIDATES = 200  # boxes that the best is chosen of: more are hardly better, and cost their square
_WHITE = 255.0


def blind_dice(folder: Path, segmenter: Segmenter) -> dict[str, float]:
    """The mean Dice, by structure, over the validation slices of 8-bit images in `folder` that show
    it, of what `segmenter` draws in its blind box: of the training slices' boxes the one whose mean
    IoU with all others is the highest.

    ValueError for a segmenter that takes no box.
    """
    if PromptKind.BOX not in segmenter.supported_prompts:
        raise ValueError(f"{segmenter.name} takes no box")
    training = _truths(open_dataset(folder, split="training").cases())
    validation = _truths(open_dataset(folder, split="validation").cases())
    dice: dict[str, float] = {}
    for name, shown in validation.items():
        if name not in training:
            continue
        box = central_box([Box.around(truth) for _, truth in training[name]][:_CANDIDATES])
        dice[name] = fmean(
            overlap(segmenter.segment(segmenter.encode(image), Prompts(box=box)).mask, truth)[1]
            for image, truth in shown
        )
    return dice


def central_box(boxes: list[Box]) -> Box:
    """The one of `boxes` whose mean IoU with all of them is the highest; ValueError for none.

    >>> central_box([Box(0, 0, 4, 4), Box(1, 0, 5, 4), Box(2, 0, 6, 4)])
    Box(x0=1, y0=0, x1=5, y1=4)
    """
    if not boxes:
        raise ValueError("there is no box to choose")
    sides = np.array([(box.x0, box.y0, box.x1 + 1, box.y1 + 1) for box in boxes])
    low = np.maximum(sides[:, None, :2], sides[None, :, :2])
    high = np.minimum(sides[:, None, 2:], sides[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = np.prod(sides[:, 2:] - sides[:, :2], axis=1)
    ious = shared / np.maximum(areas[:, None] + areas[None, :] - shared, 1e-9)
    return boxes[int(ious.mean(axis=1).argmax())]


def _truths(
    cases: Iterable[Case],
) -> dict[str, list[tuple[NDArray[np.float32], NDArray[np.bool_]]]]:
    """By structure, the slices that show it: (rows, columns) float32 in 0..1, and its truth."""
    shown: dict[str, list[tuple[NDArray[np.float32], NDArray[np.bool_]]]] = {}
    for case in cases:
        image = np.asarray(case.volume.intensities[0] / _WHITE, np.float32)
        for truth in case.truths:
            if not truth.absent:
                shown.setdefault(truth.target.text, []).append((image, truth.voxels[0]))
    return shown
