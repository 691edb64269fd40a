"""Rollouts: episodes of the model in training, many at once, in the model's own tokens.

The policy, its prompts, what is read in a reply and when an episode ends are those of serving
(agent.episode.loop with a LanguagePolicy); only the tokens are kept here. What the model said goes
into its row as it was sampled and is never decoded and encoded again; what it was told is rendered
as serving renders it, and learnt by nobody.

    row        prompt ................. | reply | observation ......... | reply | ...
    holds      system, picture, target  |       | <end> picture, words  |
    trained                             | 1 1 1 | 0 0 0 0 0 0 0 0 0 0 0 | 1 1 1 |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, ProcessorMixin

from agent.episode.loop import run_together
from agent.language.chat import Answer, Conversation, Picture
from agent.language.policy import LanguagePolicy
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.ports import Observation, Reply, Segmenter
from agent.turns import Episode, Turn, Usage
from models.errors import TrainingRefused
from models.policies.chat.in_process.pictures import Pictures
from models.policies.chat.in_process.prompt_tokens import PromptTokens
from models.policies.chat.in_process.rendering import Renderer
from models.policies.chat.in_process.stopping import closing_tokens, complete
from models.training.running.chat_roles import require_roles

Sampled = tuple[list[list[int]], list[list[float]] | None]
"""The tokens of each reply, and their log-probabilities where the sampler tells them."""

Generate = Callable[[list[list[int]], list[list[Picture]]], Sampled]
"""Samples a reply for each row of token ids, with its pictures in the order of their tokens."""


@dataclass(frozen=True)
class Room:
    """How long things may become, in tokens: one reply, all that follows a prompt, and both
    together (None: the model does not say).
    """

    reply_tokens: int
    completion_tokens: int
    context_tokens: int | None = None


@dataclass(frozen=True, eq=False)
class Rollout:
    """An episode as a trainer takes it.

    `completion_ids` follow `prompt_ids`; `trained` is 1 for what the model said and 0 for what it
    was told; `logprobs` one for each of them (0.0 where it is not trained), None where the sampler
    tells none. `pictures` in the order of their tokens over prompt and completion. `episode` has a
    turn for each reply. `out_of_room` where it was ended because a further turn would not have fit.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    trained: list[int]
    logprobs: list[float] | None
    pictures: tuple[Picture, ...]
    episode: Episode
    out_of_room: bool = False


@dataclass(eq=False)
class _Row:
    """One episode's tokens as they grow; `served` is what serving reads of it."""

    prompt_ids: list[int] = field(default_factory=list)
    completion_ids: list[int] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)
    logprobs: list[float] | None = None
    pictures: tuple[Picture, ...] = ()
    served: NDArray[np.int64] | None = None
    replies: int = 0
    full: bool = False

    @property
    def ids(self) -> list[int]:
        return self.prompt_ids + self.completion_ids

    def tell(self, ids: list[int], pictures: tuple[Picture, ...]) -> None:
        self.completion_ids += ids
        self.trained += [0] * len(ids)
        if self.logprobs is not None:
            self.logprobs += [0.0] * len(ids)
        self.pictures = pictures

    def say(self, ids: list[int], logprobs: list[float] | None) -> None:
        self.completion_ids += ids
        self.trained += [1] * len(ids)
        if logprobs is not None:
            self.logprobs = (self.logprobs or [0.0] * (len(self.trained) - len(ids))) + logprobs
        self.replies += 1


class RolloutChat:
    """The model in training as a chat model (agent.language.chat.ChatModel): it answers by
    `generate`, at one `temperature`, and keeps the tokens of every episode. UnusableModel for a
    chat template without the roles of an episode.
    """

    name = "in training"

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        generate: Generate,
        room: Room,
        temperature: float,
    ) -> None:
        self._processor, self._generate = processor, generate
        self._room, self._temperature = room, temperature
        self._pictures = Pictures(model, processor, limit_bytes=0)
        self._tokens = PromptTokens(
            processor, self._pictures, image_token=model.config.image_token_id, name=self.name
        )
        require_roles(self._tokens, self.name)
        self._renderer = Renderer(processor)
        self._closing = closing_tokens(processor.tokenizer)
        self._marks = frozenset(processor.tokenizer.all_special_ids)
        self._vision = frozenset(vision_tokens(model))
        self._rows: list[_Row] = []
        self._asked: list[int] = []

    def begin(self, episodes: int) -> None:
        """Forget all rows; as many new ones as there are `episodes`."""
        self._rows = [_Row() for _ in range(episodes)]

    def expect(self, episodes: Sequence[int]) -> None:
        """The next conversations are of these episodes, in this order."""
        self._asked = list(episodes)

    def answer(
        self, conversations: Sequence[Conversation], *, temperature: float, max_new_tokens: int
    ) -> list[Answer]:
        """A sampled reply for each conversation; an episode without room for one more is answered
        with nothing, and its row stays as it is.

        ValueError for another temperature or length than the trainer samples with: the ratios of
        its loss would be wrong.
        """
        if (temperature, max_new_tokens) != (self._temperature, self._room.reply_tokens):
            raise ValueError(f"the trainer samples neither at {temperature} nor {max_new_tokens}")
        rows = [self._rows[episode] for episode in self._asked]
        roomy = [
            row
            for row, conversation in zip(rows, conversations, strict=True)
            if self._told(row, conversation)
        ]
        texts = dict(zip(map(id, roomy), self._sampled(roomy), strict=True))
        return [Answer(texts.get(id(row), ""), usage=self._usage(row)) for row in rows]

    def rollout(self, number: int, episode: Episode) -> Rollout:
        """The row of an episode that has ended."""
        row = self._rows[number]
        if not row.completion_ids:  # a trainer needs a token to look at, which is not learnt
            row.tell([self._processor.tokenizer.eos_token_id], row.pictures)
        turns = episode.turns[: row.replies]  # those after it were not asked of the model
        return Rollout(
            row.prompt_ids,
            row.completion_ids,
            row.trained,
            row.logprobs,
            row.pictures,
            replace(episode, turns=turns),
            row.full,
        )

    def _told(self, row: _Row, conversation: Conversation) -> bool:
        """Append what the model is told; False, and nothing appended, where there is no room."""
        if row.full:
            return False
        prompt = self._tokens.prepare(conversation)
        if prompt.reading is None:
            raise TypeError("the conversation came back without its tokens")
        served = prompt.reading.ids
        if row.served is None:
            row.prompt_ids, row.served = served.tolist(), served
            row.pictures = conversation.pictures
            self._require_context(len(row.prompt_ids))
            return True
        (*_, reply, _) = conversation.messages
        observation_ids = self._observation(
            row, row.served, served, self._renderer.plain(reply.text)
        )
        needed = len(row.completion_ids) + len(observation_ids) + self._room.reply_tokens
        row.full = needed > self._room.completion_tokens
        if row.full:
            return False
        row.tell(observation_ids, conversation.pictures)
        row.served = served
        return True

    def _require_context(self, prompt_tokens: int) -> None:
        longest, needed = self._room.context_tokens, prompt_tokens + self._room.completion_tokens
        if longest is not None and needed > longest:
            raise TrainingRefused(
                f"a prompt of {prompt_tokens} tokens with {self._room.completion_tokens} for the "
                f"episode is more than the {longest} that the model can read: allow fewer turns, "
                "smaller pictures, or shorter replies"
            )

    def _observation(
        self, row: _Row, before: NDArray[np.int64], served: NDArray[np.int64], reply: str
    ) -> list[int]:
        """The tokens between the model's last `reply` and its next, as serving reads them."""
        if not np.array_equal(served[: before.size], before):
            raise TrainingRefused(
                "the model's chat template rewrites earlier turns (as templates do that leave out "
                "old thoughts); use one that leaves them as they were"
            )
        rest: list[int] = served[before.size :].tolist()
        # a reply holds none of the template's marks (Renderer breaks them): the first one ends it
        start = next((at for at, token in enumerate(rest) if token in self._marks), None)
        if start is None or self._text(rest[:start]) != reply:
            raise TrainingRefused(
                "the model's chat template does not end a reply with a mark of its own, so that "
                "its tokens cannot be told from what follows"
            )
        ended = row.completion_ids[-1:] == rest[start : start + 1]
        return rest[start + ended :]

    def _text(self, ids: list[int]) -> str:
        text: str = self._processor.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return text

    def _sampled(self, rows: Sequence[_Row]) -> list[str]:
        """A reply for each row, appended to it, as text."""
        if not rows:
            return []
        replies, logprobs = self._generate(
            [row.ids for row in rows], [list(row.pictures) for row in rows]
        )
        texts = []
        for number, (row, sampled) in enumerate(zip(rows, replies, strict=True)):
            ids = self._cut(sampled)
            row.say(ids, None if logprobs is None else logprobs[number][: len(ids)])
            texts.append(self._processor.tokenizer.decode(ids, skip_special_tokens=True))
        return texts

    def _cut(self, ids: list[int]) -> list[int]:
        """A reply up to where serving stops to listen; before a token that stands for a picture,
        of which there is none (a sampler apart does not know that it must not).
        """
        ids = ids[: next((at for at, token in enumerate(ids) if token in self._vision), len(ids))]
        for at, token in enumerate(ids, start=1):
            if token in self._closing and complete(self._processor.tokenizer.decode(ids[:at])):
                ends = ids[at : at + 1]
                return ids[:at] + (ends if ends and ends[0] in self._marks else [])
        return ids

    def _usage(self, row: _Row) -> Usage:
        return Usage(len(row.prompt_ids), len(row.completion_ids), model=self.name)


class RolloutPolicy(LanguagePolicy):
    """The policy that serves; it tells the chat model whose turn each question is."""

    def __init__(self, chat: RolloutChat, settings: LanguageSettings) -> None:
        super().__init__(chat, settings, name="rollout")
        self._rollouts = chat
        self._episodes: dict[int, int] = {}

    def took(self, episode: int, turn: Turn) -> None:
        """Note that `turn` is of `episode`: the next question after it is that episode's."""
        self._episodes[id(turn)] = episode

    def act_many(self, observations: Sequence[Observation]) -> list[Reply]:
        """The next action of each episode; the first time these are all episodes in order."""
        self._rollouts.expect(
            [
                self._episodes[id(observation.turns[-1])] if observation.turns else number
                for number, observation in enumerate(observations)
            ]
        )
        return super().act_many(observations)


def roll_out(
    starts: Sequence[Observation],
    segmenter: Segmenter,
    chat: RolloutChat,
    settings: LanguageSettings,
    limits: Limits,
) -> list[Rollout]:
    """An episode from each start, all in lock-step, as rows of tokens in the same order."""
    policy = RolloutPolicy(chat, settings)
    chat.begin(len(starts))
    running = run_together(starts, policy, segmenter, limits)
    while True:
        try:
            policy.took(*next(running))
        except StopIteration as ended:
            return [chat.rollout(number, episode) for number, episode in enumerate(ended.value)]


def vision_tokens(model: PreTrainedModel) -> list[int]:
    """The tokens that stand for pictures and their frames: no reply may hold one."""
    names = ("image", "video", "vision_start", "vision_end")
    ids = (getattr(model.config, f"{name}_token_id", None) for name in names)
    return [int(token) for token in ids if token is not None]
