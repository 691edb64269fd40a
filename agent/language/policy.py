"""The planner that is a language model.

A reply on a slice that is no action becomes an observation, and the next try is at a raised
temperature: the loop keeps its budget. A question about the whole volume is asked again here, a
bounded number of times; after the last, no slice is guessed: the survey raises NoAnswer, so that
the target ends FAILED with the reason and a person looks at it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from agent.actions import Absent, Malformed, NameSlices
from agent.conditions import PictureSettings
from agent.errors import ChatFailed, NoAnswer
from agent.language.chat import Answer, ChatModel, Conversation
from agent.language.prompt_builder import WITHOUT_EFFECT, PromptBuilder
from agent.language.replies import reply_text
from agent.language.settings import LanguageSettings
from agent.language.views import view_of
from agent.ports import Assessment, Localisation, Observation, Reply, Slices
from agent.protocol.dialects import Dialect, parse_reply
from agent.protocol.slice_replies import parse_inspection, parse_survey
from agent.values import Segmentation, Target

_STABILITY_OFFSET = 1.0  # of the logits, as SAM's automatic masks are judged
_WEIGHT_OF_NEIGHBOUR = (
    0.25  # in the appraisal: shapes change from slice to slice, so it has no more say
)

Parser = Callable[[str], NameSlices | Absent | Malformed]
"""What a reply to a question about the whole volume says."""


class LanguagePolicy:
    """Asks `chat`; knows any target, in any words. BadPrompts when the site's prompts cannot be
    used.

    ChatFailed leaves every method in which the model is asked.
    """

    def __init__(
        self,
        chat: ChatModel,
        settings: LanguageSettings,
        name: str = "language",
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.name = name
        self._chat, self._settings, self._clock = chat, settings, clock
        self._interviewer = PromptBuilder.of(settings)

    @property
    def pictures(self) -> PictureSettings:
        """How the model's pictures are made."""
        return self._settings.pictures

    def check(self, target: Target) -> None:
        """Any target that is said in words will do; the model is asked in those very words."""

    def localise(self, target: Target, slices: Slices) -> Localisation:
        """The slices that the model names on contact sheets, or that the target is absent.

        A single slice needs no question: whether the target is on it, the episode tells. NoAnswer
        when all tries failed.
        """
        depth = slices.shape[0]
        if depth == 1:
            return Localisation((), (0,))
        question = self._interviewer.about_volume(target, slices)
        replies = self._asked(question, lambda said: parse_survey(said, depth, self._dialect))
        match replies[-1].action:
            case NameSlices(named):
                return Localisation((), named, replies=replies)
            case Absent(reason):
                return Localisation((), (), reason, replies)
            case _:
                raise self._no_answer("where the target is", replies)

    def assess(self, target: Target, slices: Slices, voxels: NDArray[np.bool_]) -> Assessment:
        """The slices that the model finds wrong on contact sheets with the outlines drawn; none for
        nothing drawn.

        NoAnswer when all tries failed.
        """
        if not voxels.any():
            return Assessment()
        depth = slices.shape[0]
        question = self._interviewer.about_drawing(target, slices, voxels)
        replies = self._asked(question, lambda said: parse_inspection(said, depth, self._dialect))
        action = replies[-1].action
        if not isinstance(action, NameSlices):
            raise self._no_answer("what is wrong with the outlines", replies)
        return Assessment(action.slices, replies)

    def act(self, observation: Observation) -> Reply:
        """The next action on a slice, or Malformed."""
        (reply,) = self.act_many([observation])
        return reply

    def act_many(self, observations: Sequence[Observation]) -> list[Reply]:
        """The next action of each episode; those that are asked at the same temperature are asked
        in one go.
        """
        replies: dict[int, Reply] = {}
        by_temperature: dict[float, list[int]] = {}
        for index, observation in enumerate(observations):
            temperature = self._settings.temperature_after(_failures(observation))
            by_temperature.setdefault(temperature, []).append(index)
        for temperature, indices in by_temperature.items():
            asked = [observations[index] for index in indices]
            replies |= zip(indices, self._acted(asked, temperature), strict=True)
        return [replies[index] for index in range(len(observations))]

    def score(self, observation: Observation, segmentation: Segmentation) -> float:
        """The segmenter's own opinion, how little its mask hangs on the threshold, and, next to a
        slice that is done, how much of the two is common.
        """
        opinions = [min(max(segmentation.predicted_iou, 0.0), 1.0), *_stability(segmentation)]
        own = float(np.mean(opinions))
        if observation.carried is None or not observation.carried.any():
            return own
        common = _dice(observation.carried, segmentation.mask)
        return (1 - _WEIGHT_OF_NEIGHBOUR) * own + _WEIGHT_OF_NEIGHBOUR * common

    @property
    def _dialect(self) -> Dialect:
        return self._settings.dialect

    def _acted(self, observations: Sequence[Observation], temperature: float) -> list[Reply]:
        talks = [self._interviewer.about_slice(observation) for observation in observations]
        answers, seconds = self._answers(talks, temperature)
        replies = []
        for observation, answer in zip(observations, answers, strict=True):
            said, view = reply_text(answer), view_of(observation, self._settings)
            action = parse_reply(said, view, self._dialect)
            replies.append(Reply(action, said, answer.usage, seconds / len(talks)))
        return replies

    def _asked(self, question: Conversation, parse: Parser) -> tuple[Reply, ...]:
        """All replies to a question about the volume, each fault told; the last is Malformed only
        when all were.
        """
        replies: list[Reply] = []
        for failures in range(self._settings.retries + 1):
            temperature = self._settings.temperature_after(failures)
            (answer,), seconds = self._answers([question], temperature)
            said = reply_text(answer)
            action = parse(said)
            replies.append(Reply(action, said, answer.usage, seconds))
            if not isinstance(action, Malformed):
                break
            question = self._interviewer.asked_again(question, said, action.fault)
        return tuple(replies)

    def _answers(
        self, talks: Sequence[Conversation], temperature: float
    ) -> tuple[list[Answer], float]:
        began = self._clock()
        answers = self._chat.answer(
            talks, temperature=temperature, max_new_tokens=self._settings.max_new_tokens
        )
        if len(answers) != len(talks):
            raise ChatFailed(
                f"{self._chat.name} gave {len(answers)} answers to {len(talks)} questions: see its log"
            )
        return answers, self._clock() - began

    def _no_answer(self, question: str, replies: tuple[Reply, ...]) -> NoAnswer:
        last = replies[-1].action
        fault = last.fault if isinstance(last, Malformed) else "it answered another question"
        return NoAnswer(
            f"the language model ({self._chat.name}) did not say {question} in {len(replies)} tries: {fault}",
            replies,
        )


def _failures(observation: Observation) -> int:
    """Turns without effect since the last one that had any."""
    recent = reversed(observation.turns)
    return sum(1 for _ in takewhile(lambda turn: turn.outcome in WITHOUT_EFFECT, recent))


def _stability(segmentation: Segmentation) -> tuple[float, ...]:
    """IoU of the masks at a higher and at a lower threshold; () where the logits are not known."""
    wider = np.count_nonzero(segmentation.logits > -_STABILITY_OFFSET)
    if not wider:
        return ()
    return (float(np.count_nonzero(segmentation.logits > _STABILITY_OFFSET) / wider),)


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    both = np.count_nonzero(one) + np.count_nonzero(other)
    return float(2 * np.count_nonzero(one & other) / both) if both else 0.0
