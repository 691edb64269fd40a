"""A segmenter of ours beside the predictor of its authors' package, with the same weights on the
same slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.values import Box, Point, Prompts

BOUND = 1e-4
"""The most that a number in float32 may differ."""

CLICKS = (Point(60, 40), Point(20, 10, positive=False), Point(81.5, 52.25))
_BOX = Box(30, 20, 100, 70)
PROMPTS = {
    "points": Prompts(points=CLICKS),
    "box": Prompts(box=_BOX),
    "points_box": Prompts(box=_BOX, points=CLICKS),
    "one click": Prompts(points=CLICKS[:1]),
}


def slice_of(shape: tuple[int, ...]) -> Any:
    """An RGB slice (rows, columns, 3) uint8 with a bright ellipse on noise."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    noise = np.random.default_rng(4).integers(0, 90, (*shape, 3))
    inside = ((x - 65) / 35) ** 2 + ((y - 45) / 25) ** 2 <= 1
    return (noise + np.where(inside, 120, 30)[..., None]).astype(np.uint8)


def gap(ours: Any, theirs: Any) -> float:
    """The worst difference of two arrays of one shape."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max())


@dataclass(frozen=True, eq=False)
class Pair:
    """`ours`, what it encoded of the slice, and upstream's predictor with that slice set."""

    ours: Any
    encoding: Any
    theirs: Any

    @classmethod
    def on(cls, image: np.ndarray, ours: Any, theirs: Any) -> Any:
        """Both on one RGB slice uint8."""
        theirs.set_image(image)
        return cls(ours, ours.encode(image.astype(np.float32) / 255), theirs)

    def upstream(self, prompts: Prompts, *, multimask: bool = True) -> Any:
        """(logits at the slice's size, predicted IoU, low-resolution logits) as upstream
        answers.
        """
        points, box, earlier = prompts.points, prompts.box, prompts.previous_logits
        return self.theirs.predict(
            point_coords=np.array([(p.x, p.y) for p in points]) if points else None,
            point_labels=np.array([int(p.positive) for p in points]) if points else None,
            box=np.array([box.x0, box.y0, box.x1, box.y1]) if box else None,
            mask_input=None if earlier is None else earlier[None],
            multimask_output=multimask,
            return_logits=True,
        )

    def check(self, prompts: Prompts) -> Any:
        """Our answer is upstream's best of three, and so are the candidates' predicted quality;
        gives the answer.
        """
        answer = self.ours.segment(self.encoding, prompts)
        logits, ious, low_res = self.upstream(prompts)
        best = int(ious.argmax())
        assert answer.choice == best
        assert gap(answer.candidate_ious, ious) < BOUND
        assert gap(answer.logits, low_res[best].clip(-32, 32)) < BOUND
        certain = np.abs(logits[best]) > BOUND
        np.testing.assert_array_equal(answer.mask[certain], logits[best][certain] > 0)
        assert np.ptp(low_res[best]) > 0.5  # numbers that say something
        return answer
