"""A reader who knows the truth: what both papers make their trajectories with.

He proposes one action at a time, from what is drawn and from the truth; whether it is taken is
decided where it is tried (agent/training/trajectory.py). With a segmenter that understands boxes
only he corrects by boxes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.actions import Action, AddBox, AddPoint
from agent.training.boxes import corrected_box, jittered_box
from agent.training.clicks import LargerError, iou, larger_error
from agent.training.mistakes import mistake
from agent.training.reader_settings import ReaderSettings, TrajectoryKind
from agent.training.sentences import correcting_sentence, opening_sentence
from agent.turns import Outcome, Turn
from agent.values import Box, Point, PromptKind


@dataclass(frozen=True, eq=False)
class Scene:
    """What a reader has before him: the `truth` and the `mask` that is shown, both (rows, columns)
    bool, None where nothing is drawn; the `turns` so far on this slice.
    """

    truth: NDArray[np.bool_]
    mask: NDArray[np.bool_] | None = None
    turns: tuple[Turn, ...] = ()

    @property
    def kept_box(self) -> Box | None:
        """The box that the mask was drawn by."""
        kept = (turn.action for turn in self.turns if turn.outcome is Outcome.KEPT)
        boxes = [action.box for action in kept if isinstance(action, AddBox)]
        return boxes[-1] if boxes else None

    @property
    def drawing(self) -> tuple[AddBox | AddPoint, ...]:
        """All boxes and clicks so far, whatever came of them."""
        actions = (turn.action for turn in self.turns)
        return tuple(action for action in actions if isinstance(action, AddBox | AddPoint))

    @property
    def clicked(self) -> tuple[Point, ...]:
        """All clicks so far."""
        return tuple(action.point for action in self.drawing if isinstance(action, AddPoint))


@dataclass(frozen=True)
class Proposal:
    """An action with the `sentence` that says why."""

    action: Action
    sentence: str


@dataclass(frozen=True, eq=False)
class SimulatedReader:
    """Proposes the actions of one trajectory of a `kind`, by the draws of `rng`, in the prompts
    that the segmenter supports.
    """

    kind: TrajectoryKind
    settings: ReaderSettings
    supported_prompts: Collection[PromptKind]
    rng: np.random.Generator

    def propose(self, scene: Scene, attempt: int = 0) -> Proposal | None:
        """The next action towards the truth, or None where nothing is left to correct; another one
        at each `attempt`, counted from 0. ValueError for an empty truth.
        """
        error = larger_error(scene.mask, scene.truth, scene.clicked)
        if error is None:
            return None
        sentence = _sentence(scene, error)
        if self._takes_box(scene):
            return Proposal(AddBox(self._box(scene, error, attempt)), sentence)
        click = error.click_near(self.settings.near_share, self.rng) if attempt else error.click
        return Proposal(AddPoint(click), sentence)

    def mistake(self, scene: Scene) -> Proposal:
        """A wrong action (agent.training.mistakes), said as if it were right."""
        error = larger_error(scene.mask, scene.truth, scene.clicked)
        wrong = mistake(scene.truth, self.supported_prompts, scene.drawing, self.rng)
        return Proposal(wrong, "" if error is None else _sentence(scene, error))

    def _takes_box(self, scene: Scene) -> bool:
        takes_boxes = PromptKind.BOX in self.supported_prompts
        if PromptKind.POINT not in self.supported_prompts or not takes_boxes:
            return takes_boxes
        match self.kind:
            case TrajectoryKind.SEQUENTIAL_CLICK:
                return False
            case TrajectoryKind.MIXED:
                return bool(self.rng.random() < 0.5)
            case TrajectoryKind.SELF_CORRECTION:
                return self._starts_anew(scene)
            case _:
                return not scene.drawing

    def _starts_anew(self, scene: Scene) -> bool:
        """Whether what is drawn is not worth a correction."""
        return scene.kept_box is None or iou(scene.mask, scene.truth) <= self.settings.wrong_iou

    def _box(self, scene: Scene, error: LargerError, attempt: int) -> Box:
        if scene.kept_box is None or self._starts_anew(scene):
            is_loose = self.kind is TrajectoryKind.MIXED and not scene.drawing and not attempt
            looseness = self.settings.loose if is_loose else 1.0
            return jittered_box(scene.truth, self.settings, self.rng, looseness)
        return corrected_box(scene.kept_box, scene.truth, error, self.rng, attempt)


def _sentence(scene: Scene, error: LargerError) -> str:
    if not scene.truth.any():
        return ""
    if scene.mask is None:
        return opening_sentence(scene.truth)
    return correcting_sentence(error, scene.truth)


def drawn_kind(
    settings: ReaderSettings, supported_prompts: Collection[PromptKind], rng: np.random.Generator
) -> TrajectoryKind:
    """A kind by the shares of `settings.mix`; clicks alone are left out where the segmenter does
    not understand them.
    """
    shares = {
        kind: share
        for kind, share in settings.mix.items()
        if kind is not TrajectoryKind.SEQUENTIAL_CLICK or PromptKind.POINT in supported_prompts
    }
    if not sum(shares.values()):
        return TrajectoryKind.BOX_TO_POINT
    weights = np.array(list(shares.values())) / sum(shares.values())
    return list(shares)[int(rng.choice(len(shares), p=weights))]


def draws_for(seed: int, *names: object) -> np.random.Generator:
    """The random draws of one trajectory: they depend on `seed` and on what names it (data set,
    case, target, slice, number), and on nothing that runs beside it.
    """
    words = "\x1f".join(map(str, (seed, *names)))
    digest = hashlib.blake2b(words.encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
