"""Trajectories: episodes of a simulated reader under the rules that serve.

`EpisodeState` decides what comes of an action (agent/episode/state.py), `mask_score` which mask is
the best, `PromptBuilder` what the model is shown: a trajectory is what serving would have recorded
had the model replied so. An action is learnt only if it brings the mask nearer to the truth **and**
serving keeps it; every action is tried on a fork of the episode first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agent.actions import Absent, Action, Stop
from agent.case import Case
from agent.episode.state import EpisodeState
from agent.language.chat import Conversation
from agent.language.prompt_builder import PromptBuilder, shown_before
from agent.language.replies import as_message
from agent.language.scoring import mask_score
from agent.language.settings import LanguageSettings
from agent.language.views import view_of
from agent.limits import Limits
from agent.ports import Observation, Reply, Segmenter, Slices
from agent.protocol.dialects import Dialect, parse_reply, render_reply
from agent.training.clicks import iou
from agent.training.reader_settings import ReaderSettings, TrajectoryKind
from agent.training.sentences import ABSENT_REASON, closing_sentence, undoing_sentence
from agent.training.simulated_reader import (
    Proposal,
    Scene,
    SimulatedReader,
    drawn_kind,
    draws_for,
)
from agent.training.slice_tasks import SliceTask
from agent.turns import Outcome, Turn
from agent.values import Role, Segmentation, Target

_WORK = {Role.KEY: "", Role.CARRY: "carry-", Role.REVIEW: "review-"}
_KINDS = {Role.CARRY: TrajectoryKind.CARRY, Role.REVIEW: TrajectoryKind.REVIEW}


@dataclass(frozen=True, eq=False)
class Exercise:
    """What one trajectory is made from: the `task` for a `target` on one of the `slices` of a
    `case`, its masks on the working grid; `number` tells the trajectories of one task apart.
    """

    case: Case
    target: Target
    slices: Slices
    task: SliceTask
    number: int = 0

    @property
    def name(self) -> str:
        """What the trajectory is called: unique in a data set, the same in every run."""
        place = f"slice-{self.task.z}:{_WORK[self.task.role]}{self.number}"
        return f"{self.case.dataset}:{self.case.case_id}:{self.target.text}:{place}"


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One episode, or one question about a volume, as it is to be learnt.

    `ious` after each of the `turns`, of the mask that is then kept with the truth, None while there
    is none; `final_iou` that of the end, None for a question about the volume; `learnt` whether
    each turn's reply is to be learnt. `conversation` is the model's, with the last reply as its
    last message. `shown_truth` (height, width) bool is the truth as it lies on the pictures.
    """

    name: str
    case: Case
    target: Target
    slice_index: int
    kind: TrajectoryKind
    turns: tuple[Turn, ...]
    learnt: tuple[bool, ...]
    ious: tuple[float | None, ...]
    final_iou: float | None
    conversation: Conversation
    shown_truth: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Dropped:
    """A trajectory that was not kept: its `name`, its kind, and the `reason` in a few words."""

    name: str
    kind: TrajectoryKind
    reason: str


TOO_LOW = "the final IoU is too low"
NOTHING_HELPED = "nothing that was tried brought a mask"
NOT_WRONG = "no action was wrong enough"
NOT_REPAIRED = "what was wrong on purpose could not be repaired"
NO_END = "serving does not let it end there"


class _ServingScore:
    """Scores as the policy that serves (agent.language.policy)."""

    def score(self, observation: Observation, segmentation: Segmentation) -> float:
        """The score of a mask, 0..1; no truth goes into it."""
        return mask_score(observation, segmentation)


@dataclass(frozen=True, eq=False)
class _Course:
    """An episode so far: its state, the observation before its last turn, and what is kept of each
    turn for the trajectory.
    """

    state: EpisodeState
    truth: NDArray[np.bool_]
    before: Observation | None = None
    learnt: tuple[bool, ...] = ()
    ious: tuple[float | None, ...] = ()

    @property
    def scene(self) -> Scene:
        """What the reader has before him."""
        return Scene(self.truth, self.shown, tuple(self.state.turns))

    @property
    def shown(self) -> NDArray[np.bool_] | None:
        """The mask (rows, columns) bool that the next picture shows."""
        observation = self.state.observe()
        return shown_before(observation, len(observation.turns))

    @property
    def outcome(self) -> Outcome | None:
        """What came of the last turn."""
        return self.state.turns[-1].outcome if self.state.turns else None

    @property
    def was_wrong(self) -> bool:
        """Whether the last turn was wrong on purpose."""
        return bool(self.learnt) and not self.learnt[-1]

    @property
    def keeps_wrong(self) -> bool:
        """Whether a mask that was wrong on purpose stands for a structure that is there."""
        return self.was_wrong and self.outcome is Outcome.KEPT and bool(self.truth.any())

    @property
    def shown_iou(self) -> float:
        """IoU of the shown mask; 0 where there is none."""
        shown = self.shown
        return 0.0 if shown is None else iou(shown, self.truth)


@dataclass(frozen=True, eq=False)
class TrajectoryMaker:
    """Makes trajectories with a segmenter, for a model that is asked as `language` says.

    The conversations are those of the text protocol with the whole history. ValueError for native
    tools, for settings without history, and for fewer than two turns: one draws, one ends.
    """

    segmenter: Segmenter
    language: LanguageSettings
    reader: ReaderSettings
    limits: Limits
    seed: int = 0

    def __post_init__(self) -> None:
        if self.language.offers_tools or not self.language.history:
            raise ValueError("trajectories are written in the text protocol, with all their turns")
        if min(self.limits.max_turns, self.limits.review_turns) < 2:
            raise ValueError("a trajectory needs two turns: one that draws, one that ends")

    @cached_property
    def prompt_builder(self) -> PromptBuilder:
        """Builds the conversations; BadPrompts for a site's prompts that cannot be used."""
        return PromptBuilder.of(self.language)

    def make(self, exercise: Exercise) -> Trajectory | Dropped:
        """The trajectory of an exercise. SegmenterFailed passes through."""
        case, task = exercise.case, exercise.task
        names = (case.dataset, case.case_id, exercise.target.text, task.z, exercise.number)
        rng = draws_for(self.seed, *names, *((task.role,) if task.role is Role.CARRY else ()))
        kind = self._kind(exercise, rng)
        reader = SimulatedReader(kind, self.reader, self.segmenter.supported_prompts, rng)
        wrong_at = None
        if kind is TrajectoryKind.SELF_CORRECTION:
            # where the structure is absent nothing right comes before the end
            wrong_at = int(rng.integers(2)) if task.truth.any() else 0
        course = self._begun(exercise)
        # a carried mask has two turns, one to draw and one to correct: serving needs no third
        ending_turns = 0 if kind is TrajectoryKind.CARRY else 1
        while course.state.observe().turns_left > ending_turns:
            if wrong_at == len(course.state.turns):
                following = self._mistaken(course, reader)
                if following is None:
                    return Dropped(exercise.name, kind, NOT_WRONG)
            else:
                following = self._nearer(course, reader)
                if following is None and course.keeps_wrong:
                    return Dropped(exercise.name, kind, NOT_REPAIRED)  # a stop would praise it
                if following is None:
                    break
            course = following
        return self._ended(exercise, kind, course)

    def _kind(self, exercise: Exercise, rng: np.random.Generator) -> TrajectoryKind:
        given = _KINDS.get(exercise.task.role)
        if given is not None:
            return given
        kind = drawn_kind(self.reader, self.segmenter.supported_prompts, rng)
        if exercise.task.truth.any() or kind is TrajectoryKind.SELF_CORRECTION:
            return kind
        return TrajectoryKind.ABSENT

    def _begun(self, exercise: Exercise) -> _Course:
        task = exercise.task
        state = EpisodeState(
            task.start(exercise.target, exercise.slices),
            _ServingScore(),
            self.segmenter,
            self.limits,
            first_index=0,
            objection=task.objection(self.limits, exercise.slices),
            clock=lambda: 0.0,  # the same trajectory is the same to the byte
        )
        return _Course(state, task.truth)

    def _nearer(self, course: _Course, reader: SimulatedReader) -> _Course | None:
        """The course with one more action that helps and is kept; None where none is needed or none
        was found within the tries.
        """
        if not course.truth.any() or course.shown_iou >= self.reader.satisfied_iou:
            return None
        poor: _Course | None = None
        for attempt in range(self.reader.retries):
            proposal = reader.propose(course.scene, attempt)
            if proposal is None:
                break
            tried = self._taken(course, proposal, learnt=True)
            gain = tried.shown_iou - course.shown_iou
            if tried.outcome is not Outcome.KEPT or gain < self.reader.least_gain:
                continue
            if course.shown is not None or tried.shown_iou > self.reader.wrong_iou:
                return tried
            # a first mask that is hardly one: a better start is looked for
            if poor is None or tried.shown_iou > poor.shown_iou:
                poor = tried
        return poor

    def _mistaken(self, course: _Course, reader: SimulatedReader) -> _Course | None:
        """The course with an action that is wrong, seen by what comes of it; None for none."""
        for _ in range(self.reader.retries):
            tried = self._taken(course, reader.mistake(course.scene), learnt=False)
            kept_wrong = tried.shown_iou <= self.reader.wrong_iou
            if tried.outcome is not Outcome.KEPT or kept_wrong:
                return tried if tried.state.open else None
        return None

    def _ended(
        self, exercise: Exercise, kind: TrajectoryKind, course: _Course
    ) -> Trajectory | Dropped:
        present = bool(course.truth.any())
        if present and course.state.best is None:
            return Dropped(exercise.name, kind, NOTHING_HELPED)
        if present and course.shown_iou < self.reader.least_final_iou:
            return Dropped(exercise.name, kind, TOO_LOW)
        if course.state.observe().turns_left:
            sentence = closing_sentence(course.shown_iou, self.reader.satisfied_iou)
            end: Action = Stop() if present else Absent(ABSENT_REASON)
            proposal = Proposal(end, sentence if present else "The target is not in this image.")
            course = self._taken(course, proposal, learnt=True)
            if course.outcome not in (Outcome.STOPPED, Outcome.ABSENT):
                return Dropped(exercise.name, kind, NO_END)
        if course.before is None:
            return Dropped(exercise.name, kind, NOTHING_HELPED)
        best, turns = course.state.best, tuple(course.state.turns)
        return Trajectory(
            name=exercise.name,
            case=exercise.case,
            target=exercise.target,
            slice_index=exercise.task.z,
            kind=kind,
            turns=turns,
            learnt=course.learnt,
            ious=course.ious,
            final_iou=iou(None if best is None else best.mask, course.truth),
            conversation=self._conversation(course.before, turns[-1]),
            shown_truth=view_of(course.before, self.language).mask(course.truth),
        )

    def _taken(self, course: _Course, proposal: Proposal, *, learnt: bool) -> _Course:
        """The course with one more turn: the action as the model would write it, and as serving
        reads it.
        """
        before = course.state.observe()
        view, dialect = view_of(before, self.language), self.language.dialect
        sentence = proposal.sentence
        if learnt and course.was_wrong:
            sentence = undoing_sentence(sentence)
        thought = sentence if dialect is Dialect.THINK_ACTION else ""
        text = render_reply(proposal.action, view, dialect, thought)
        fork = course.state.forked()
        asked = fork.step(Reply(parse_reply(text, view, dialect), text), 0.0)
        answer = None
        if asked is not None:
            answer = self.segmenter.segment(asked.encoding, asked.prompts)
        fork.record(answer, 0.0)
        after = _Course(fork, course.truth, before, (*course.learnt, learnt))
        shown = after.shown
        latest = None if shown is None or fork.absent else iou(shown, course.truth)
        return _Course(fork, course.truth, before, after.learnt, (*course.ious, latest))

    def _conversation(self, before: Observation, last: Turn) -> Conversation:
        conversation = self.prompt_builder.about_slice(before)
        return Conversation((*conversation.messages, as_message(last.reply, native=False)))
