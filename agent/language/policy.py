"""The planner that is a language model.

A reply on a slice that is no action becomes an observation, and the next try is at a raised
temperature, within the episode's budget. A question about the whole volume is asked again here, a
bounded number of times; after the last no slice is guessed: `localise` raises NoAnswer, so that the
target ends FAILED with the reason and a person looks at it.
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
from agent.knowledge import ANYTHING
from agent.language.chat import Answer, ChatModel, Conversation, SeesPictures
from agent.language.prompt_builder import WITHOUT_EFFECT, PromptBuilder
from agent.language.replies import reply_text
from agent.language.scoring import mask_score
from agent.language.settings import LanguageSettings
from agent.language.views import view_of
from agent.ports import Assessment, Localisation, Observation, Reply, Slices
from agent.protocol.dialects import Dialect, parse_reply
from agent.protocol.slice_replies import parse_assessment, parse_localisation
from agent.values import Segmentation, Target

_EXCERPT_CHARS = 80  # of a reply, in a sentence for a person

Parser = Callable[[str], NameSlices | Absent | Malformed]
"""From a reply about the whole volume to its answer."""


class LanguagePolicy:
    """Plans by asking `chat`; takes any target, in any words.

    BadPrompts when the site's prompts cannot be used. ChatFailed leaves every method that asks.
    """

    knowledge = ANYTHING

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
        self._prompt_builder = PromptBuilder.of(
            settings, chat if isinstance(chat, SeesPictures) else None
        )

    @property
    def pictures(self) -> PictureSettings:
        """How the model's pictures are made."""
        return self._settings.pictures

    @property
    def prompts_sha256(self) -> str:
        """The digest of the prompts, the site's among them."""
        return self._prompt_builder.templates.sha256

    def localise(self, target: Target, slices: Slices) -> Localisation:
        """The slices that the model names on contact sheets, or that the target is absent.

        An image of one slice needs no question: its episode shows whether the target is there.
        NoAnswer when all tries failed.
        """
        depth = slices.shape[0]
        if depth == 1:
            return Localisation((), (0,))
        question = self._prompt_builder.about_volume(target, slices)
        replies = self._asked(question, lambda text: parse_localisation(text, depth, self._dialect))
        match replies[-1].action:
            case NameSlices(named):
                return Localisation((), named, replies=replies)
            case Absent(reason):
                return Localisation((), (), reason, replies)
            case _:
                raise self._no_answer("where the target is", replies)

    def assess(self, target: Target, slices: Slices, voxels: NDArray[np.bool_]) -> Assessment:
        """The slices that the model calls wrong on contact sheets with the object's outline; none
        for an empty object.

        NoAnswer when all tries failed.
        """
        if not voxels.any():
            return Assessment()
        depth = slices.shape[0]
        question = self._prompt_builder.about_object(target, slices, voxels)
        replies = self._asked(question, lambda text: parse_assessment(text, depth, self._dialect))
        action = replies[-1].action
        if not isinstance(action, NameSlices):
            raise self._no_answer("what is wrong with the outlines", replies)
        return Assessment(action.slices, replies)

    def act(self, observation: Observation) -> Reply:
        """The next action on a slice, or Malformed."""
        (reply,) = self.act_many([observation])
        return reply

    def act_many(self, observations: Sequence[Observation]) -> list[Reply]:
        """The next action of each episode; those of one temperature are asked for in one call."""
        replies: dict[int, Reply] = {}
        by_temperature: dict[float, list[int]] = {}
        for index, observation in enumerate(observations):
            temperature = self._settings.temperature_after(_failures(observation))
            by_temperature.setdefault(temperature, []).append(index)
        for temperature, indices in by_temperature.items():
            batch = [observations[index] for index in indices]
            replies |= zip(indices, self._acted(batch, temperature), strict=True)
        return [replies[index] for index in range(len(observations))]

    def score(self, observation: Observation, segmentation: Segmentation) -> float:
        """What the segmenter says of it, and a neighbouring mask (agent.language.scoring)."""
        return mask_score(observation, segmentation)

    @property
    def _dialect(self) -> Dialect:
        return self._settings.dialect

    def _acted(self, observations: Sequence[Observation], temperature: float) -> list[Reply]:
        talks = [self._prompt_builder.about_slice(observation) for observation in observations]
        answers, seconds = self._answers(talks, temperature)
        replies = []
        for observation, answer in zip(observations, answers, strict=True):
            text, view = reply_text(answer), view_of(observation, self._settings)
            coordinates = self._prompt_builder.coordinates(view)
            action = parse_reply(text, view, self._dialect, coordinates)
            replies.append(Reply(action, text, answer.usage, seconds / len(talks)))
        return replies

    def _asked(self, question: Conversation, parse: Parser) -> tuple[Reply, ...]:
        """All replies to a question about the volume; each fault is put to the model with the next
        try, and the last reply is Malformed only when all are.
        """
        replies: list[Reply] = []
        for failures in range(self._settings.retries + 1):
            temperature = self._settings.temperature_after(failures)
            (answer,), seconds = self._answers([question], temperature)
            text = reply_text(answer)
            action = parse(text)
            replies.append(Reply(action, text, answer.usage, seconds))
            if not isinstance(action, Malformed):
                break
            question = self._prompt_builder.with_fault(question, text, action.fault)
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
                f"{self._chat.name} gave {len(answers)} answers to {len(talks)} questions: "
                "see its log"
            )
        return answers, self._clock() - began

    def _no_answer(self, question: str, replies: tuple[Reply, ...]) -> NoAnswer:
        # for a person: what was wrong with the reply was told to the model, and is in the turns
        words = " ".join(replies[-1].text.split())
        excerpt = words if len(words) <= _EXCERPT_CHARS else f"{words[:_EXCERPT_CHARS]}…"
        last = f'its last reply was "{excerpt}"' if words else "its last reply was empty"
        return NoAnswer(
            f"the language model ({self._chat.name}) did not say {question} "
            f"in {len(replies)} tries: {last}",
            replies,
        )


def _failures(observation: Observation) -> int:
    """Turns without effect since the last one that had any."""
    recent = reversed(observation.turns)
    return sum(1 for _ in takewhile(lambda turn: turn.outcome in WITHOUT_EFFECT, recent))
