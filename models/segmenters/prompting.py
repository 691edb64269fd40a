"""What the promptable segmenters share: which prompts there are, clicks as a table, asks that fit
one decoder run, answers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agent.ports import PromptedSlice
from agent.values import PromptKind, Prompts, Segmentation
from models.errors import PromptNotUnderstood

CLICK_OUTSIDE, CLICK_INSIDE, CORNER_FIRST, CORNER_LAST = range(4)  # SAM's labels of points
AT_ONCE = 32  # prompts in one run of a decoder; bounds its memory, and more bring no speed
LOGIT_CLAMP = 32.0
MASK_LOGIT = 10.0  # what SAM 2 makes of an outline: this inside, minus this outside


def kinds_of(prompts: Prompts) -> frozenset[PromptKind]:
    """The kinds of prompt that are there; earlier logits are a mask."""
    present = {
        PromptKind.BOX: prompts.box is not None,
        PromptKind.POINT: bool(prompts.points),
        PromptKind.MASK: prompts.mask is not None or prompts.previous_logits is not None,
        PromptKind.TEXT: bool(prompts.text),
    }
    return frozenset(kind for kind, is_present in present.items() if is_present)


def require_understood(
    name: str, supported_prompts: frozenset[PromptKind], prompts: Prompts
) -> frozenset[PromptKind]:
    """The kinds of prompt that are there; PromptNotUnderstood when there is none, or one that
    segmenter `name` cannot use.
    """
    kinds = kinds_of(prompts)
    if not kinds or kinds - supported_prompts:
        raise PromptNotUnderstood(name, tuple(sorted(kind.value for kind in supported_prompts)))
    return kinds


def corners_and_clicks(prompts: Prompts) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Box corners, then clicks: (n, 2) float32 source pixels xy and (n,) labels 2, 3 (corners), 1
    (inside), 0 (outside).
    """
    # a box is two points with labels of their own, so one table and one order serves every prompt
    rows: list[tuple[float, float, int]] = []
    if (box := prompts.box) is not None:
        rows += [(box.x0, box.y0, CORNER_FIRST), (box.x1, box.y1, CORNER_LAST)]
    rows += [(p.x, p.y, CLICK_INSIDE if p.positive else CLICK_OUTSIDE) for p in prompts.points]
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return table[:, :2].astype(np.float32), table[:, 2].astype(np.int64)


def in_groups(
    asks: Sequence[PromptedSlice],
    kind: Callable[[PromptedSlice], Hashable],
    draw: Callable[[Sequence[PromptedSlice]], list[Segmentation]],
) -> list[Segmentation]:
    """Answer all asks, in order: those of one `kind` go to `draw` together, at most AT_ONCE at a
    time.

    Padding every prompt to one length would be one run for all, but a padding point is a token that
    the decoder attends to: it moves the logits.
    """
    alike: dict[Hashable, list[int]] = {}
    for place, ask in enumerate(asks):
        alike.setdefault(kind(ask), []).append(place)
    answers: dict[int, Segmentation] = {}
    for places in alike.values():
        for first in range(0, len(places), AT_ONCE):
            some = places[first : first + AT_ONCE]
            answers |= dict(zip(some, draw([asks[place] for place in some]), strict=True))
    return [answers[place] for place in range(len(asks))]


def answer(low_res: Tensor, ious: Tensor, to_source: Callable[[Tensor], Tensor]) -> Segmentation:
    """Of the candidates `low_res` (m, h, w) logits the one whose predicted IoU `ious` (m,) is
    highest.

    `to_source` brings logits (h, w) to the slice's own size; the mask is where they are > 0. The
    low-resolution logits that go back in with the next prompt are clamped to ±32, as SAM 2's image
    predictor does.
    """
    # a logit above 0 is a probability above a half; beyond ±32 a sigmoid in float32 is 0 or 1
    opinions = tuple(float(iou) for iou in ious)
    choice = int(ious.argmax())
    return Segmentation(
        mask=(to_source(low_res[choice]) > 0).cpu().numpy(),
        logits=low_res[choice].clamp(-LOGIT_CLAMP, LOGIT_CLAMP).float().cpu().numpy(),
        predicted_iou=min(max(opinions[choice], 0.0), 1.0),
        choice=choice,
        candidate_ious=opinions,
    )


def resized(plane: Tensor, shape: tuple[int, int], *, antialias: bool = False) -> Tensor:
    """A plane (h, w) float32 bilinearly at another `shape` (rows, columns), edges to edges."""
    return torch.nn.functional.interpolate(
        plane[None, None].float(), shape, mode="bilinear", align_corners=False, antialias=antialias
    )[0, 0]


def outline_logits(mask: NDArray[np.bool_]) -> Tensor:
    """An outline (rows, columns) bool as logits float32: 10 inside, -10 outside."""
    return torch.from_numpy(np.where(mask, MASK_LOGIT, -MASK_LOGIT).astype(np.float32))


def check_logits(name: str, logits: NDArray[np.float32], side: int) -> Tensor:
    """Earlier logits as segmenter `name` takes them back, (side, side) float32; ValueError for
    another model's.
    """
    if logits.shape != (side, side):
        raise ValueError(
            f"{name} takes back logits of ({side}, {side}), as it gave them, not {logits.shape}"
        )
    return torch.from_numpy(np.asarray(logits, dtype=np.float32))
