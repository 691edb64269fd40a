"""Rollouts: their tokens are those of serving, and what is trained is what the model said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agent.actions import AddBox, Malformed, Stop
from agent.fakes import FakeSegmenter
from agent.language.chat import Conversation, Message, Picture
from agent.language.policy import LanguagePolicy
from agent.language.prompt_builder import PromptBuilder
from agent.language.replies import as_message
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.protocol.dialects import Dialect, render_reply
from agent.turns import Outcome
from agent.values import Box
from models.errors import TrainingRefused
from models.policies.chat.in_process.generating import Generator
from models.policies.chat.in_process.loading import Loaded
from models.policies.chat.in_process.readers import CachedReader
from tests.support.chat_folders import Size, save_qwen2_5_vl, save_qwen3_vl

if TYPE_CHECKING:
    from models.training.rollouts import RolloutChat

FAMILIES = {"qwen3_vl": save_qwen3_vl, "qwen2_5_vl": save_qwen2_5_vl}
WHOLE, LEFT, TOP = Box(4, 4, 59, 59), Box(4, 4, 30, 59), Box(4, 4, 59, 30)
ACTIONS = [AddBox(box) for box in (WHOLE, LEFT, TOP, Box(30, 4, 59, 59), Box(4, 30, 59, 59))]


Seen = list[tuple[list[int], list[Picture]]]
"""What a sampler was asked with: tokens and pictures, a conversation each."""

if TYPE_CHECKING:
    ChatOf = Callable[..., tuple[RolloutChat, Seen]]


def long_replies(settings: LanguageSettings) -> LanguageSettings:
    """The toy's settings for a tokenizer of ordinary words, in which a reply is some 25 tokens."""
    return replace(settings, max_new_tokens=40)


@pytest.fixture(scope="module")
def families(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loaded]:
    folders = {}
    for family, save in FAMILIES.items():
        folders[family] = tmp_path_factory.mktemp(family)
        save(folders[family], Size(sentences=(toy.GOOD, toy.STOP, toy.WORDS) * 8, vocabulary=700))
    return {family: toy.load_toy(folder) for family, folder in folders.items()}


@pytest.fixture
def loaded(families: dict[str, Any]) -> Loaded:
    return families["qwen3_vl"]


@pytest.fixture
def chat_of(toy: ModuleType) -> ChatOf:
    """A rollout chat whose sampler says the given replies in order, each closed by an end mark."""

    def made(
        loaded: Loaded, replies: Sequence[str | list[int]], *, closed: bool = True, **room: int
    ) -> tuple[RolloutChat, Seen]:
        from models.training.rollouts import RolloutChat, Room, Sampled

        rest = iter(replies)
        seen: Seen = []

        def generate(ids: list[list[int]], pictures: list[list[Picture]]) -> Sampled:
            seen.extend(zip(ids, pictures, strict=True))
            rows = [next(rest) for _ in ids]
            tokenizer = loaded.processor.tokenizer
            ends = [tokenizer.eos_token_id] if closed else []
            said = [
                row if isinstance(row, list) else [*tokenizer(row)["input_ids"], *ends]
                for row in rows
            ]
            return said, [[-float(n)] * len(row) for n, row in enumerate(said, start=1)]

        room = {"reply_tokens": 40, "completion_tokens": 4000} | room
        return RolloutChat(loaded.model, loaded.processor, generate, Room(**room), 1.0), seen

    return made


@pytest.fixture
def play(toy: ModuleType, prompts: Path, chat_of: ChatOf) -> Callable[..., Any]:
    """Roll out one episode of the given replies; gives its rollout and what the sampler saw."""

    def one(
        loaded: Loaded, replies: Sequence[Any], *, turns: int = 5, settings: Any = None, **room: int
    ) -> Any:
        from models.training.rollouts import roll_out

        chat, seen = chat_of(loaded, replies, **room)
        settings = settings or long_replies(toy.toy_settings(prompts))
        starts = toy.toy_starts(toy.toy_squares(1))
        (rollout,) = roll_out(starts, FakeSegmenter(), chat, settings, Limits(max_turns=turns))
        return rollout, seen

    return one


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("pictures", [1, 5])
def test_tokens_are_those_that_serving_reads(
    toy: ModuleType,
    prompts: Path,
    families: dict[str, Any],
    play: Callable[..., Any],
    family: str,
    dialect: Dialect,
    pictures: int,
) -> None:
    """The row of an episode of canonical replies, against the conversation read by the policy that
    serves: id for id.
    """
    loaded = families[family]
    replies = [render_reply(action, toy.VIEW, dialect, "So.") for action in ACTIONS[:pictures]]
    settings = long_replies(toy.toy_settings(prompts, dialect))

    rollout, _ = play(loaded, replies, turns=pictures, settings=settings)

    served = _served(loaded, settings, toy, rollout)
    end = loaded.processor.tokenizer.eos_token_id
    assert [*rollout.prompt_ids, *rollout.completion_ids] == served[: served.index_of_last(end) + 1]
    assert len(rollout.pictures) == pictures


class _Ids(list[int]):
    def index_of_last(self, token: int) -> int:
        return len(self) - 1 - self[::-1].index(token)


def _served(loaded: Loaded, settings: Any, toy: ModuleType, rollout: Any) -> _Ids:
    """The whole conversation, last reply included, in the tokens of the serving policy."""
    observation = toy.toy_starts(toy.toy_squares(1))[0]
    turns = rollout.episode.turns
    standing, best = [], None
    for turn in turns:
        if turn.outcome is Outcome.KEPT:
            best = turn.masks.unpacked()[0]
        standing.append(best)
    before = replace(
        observation,
        turns=turns[:-1],
        best_masks=tuple(standing[:-1]),
        turns_left=1,
        supported_prompts=FakeSegmenter.supported_prompts,
    )
    conversation = PromptBuilder.of(settings).about_slice(before)
    answered = (*conversation.messages, as_message(turns[-1].reply, native=False))
    closing = Conversation((*answered, Message("user", ("?",))))
    reader = CachedReader(loaded, Generator(loaded))
    whole = reader.prepare(closing).reading
    asked = reader.prepare(Conversation((Message("user", ("?",)),))).reading
    assert whole is not None
    assert asked is not None
    return _Ids(whole.ids[: len(whole) - len(asked)].tolist())  # without the question behind it


def test_trained_tokens_are_exactly_the_replies(
    toy: ModuleType, loaded: Loaded, play: Callable[..., Any]
) -> None:
    rollout, _ = play(loaded, [toy.WORDS, toy.GOOD, toy.STOP])
    tokenizer = loaded.processor.tokenizer

    trained = [
        token for token, mask in zip(rollout.completion_ids, rollout.trained, strict=True) if mask
    ]
    end = tokenizer.eos_token
    assert tokenizer.decode(trained) == end.join([toy.WORDS, toy.GOOD, toy.STOP, ""])
    assert [turn.reply for turn in rollout.episode.turns] == [toy.WORDS, toy.GOOD, toy.STOP]
    assert set(rollout.trained) == {0, 1}


def test_log_probabilities_stay_beside_their_tokens(
    toy: ModuleType, loaded: Loaded, play: Callable[..., Any]
) -> None:
    rollout, _ = play(loaded, [toy.GOOD, toy.STOP])

    assert [value != 0.0 for value in rollout.logprobs] == [bool(one) for one in rollout.trained]


def test_what_was_sampled_is_never_encoded_again(
    toy: ModuleType, loaded: Loaded, play: Callable[..., Any]
) -> None:
    """A reply in single characters, which the tokenizer would have joined."""
    tokenizer = loaded.processor.tokenizer
    apart = [token for letter in toy.WORDS for token in tokenizer(letter)["input_ids"]]
    assert apart != tokenizer(toy.WORDS)["input_ids"]

    rollout, _ = play(loaded, [[*apart, tokenizer.eos_token_id], toy.GOOD, toy.STOP])

    assert rollout.completion_ids[: len(apart)] == apart


def test_a_malformed_reply_is_told_and_goes_on(
    toy: ModuleType, loaded: Loaded, play: Callable[..., Any]
) -> None:
    rollout, _ = play(loaded, [toy.WORDS, toy.GOOD, toy.STOP])

    first, second, third = rollout.episode.turns
    assert isinstance(first.action, Malformed)
    told = loaded.processor.tokenizer.decode(rollout.completion_ids)
    assert f"No effect: {first.observation}" in told
    assert (second.outcome, third.outcome) == (Outcome.KEPT, Outcome.STOPPED)


def test_a_stop_is_one(toy: ModuleType, loaded: Loaded, play: Callable[..., Any]) -> None:
    rollout, seen = play(loaded, [toy.GOOD, toy.STOP, toy.GOOD])

    assert isinstance(rollout.episode.turns[-1].action, Stop)
    assert len(seen) == 2  # nobody was asked a third time
    assert rollout.completion_ids[-1] == loaded.processor.tokenizer.eos_token_id


def test_pictures_are_in_the_order_of_their_tokens(
    toy: ModuleType, loaded: Loaded, play: Callable[..., Any]
) -> None:
    rollout, seen = play(loaded, [toy.GOOD, toy.STOP])

    image = loaded.model.config.image_token_id
    tokens = [*rollout.prompt_ids, *rollout.completion_ids].count(image)
    assert tokens == 4 * len(rollout.pictures) == 8
    assert [len(pictures) for _, pictures in seen] == [1, 2]
    clean, outlined = rollout.pictures
    contours = [
        np.all(picture.pixels == (0, 255, 0), axis=2).any() for picture in (clean, outlined)
    ]
    assert contours == [False, True]  # the mask is outlined on the second one


def test_a_reply_ends_where_serving_stops_listening(
    toy: ModuleType, loaded: Loaded, play: Callable[..., Any]
) -> None:
    tokenizer = loaded.processor.tokenizer
    rambling = tokenizer(f"{toy.GOOD} and more {toy.STOP}")["input_ids"]

    rollout, _ = play(loaded, [rambling, toy.STOP])

    said = rollout.trained.index(0)
    assert tokenizer.decode(rollout.completion_ids[:said]) == toy.GOOD
    told = tokenizer.decode(rollout.completion_ids[said:])
    assert told.startswith(tokenizer.eos_token)  # the mark that it did not say is told
    assert len(rollout.logprobs) == len(rollout.completion_ids)


def test_a_sampled_picture_token_ends_a_reply(
    toy: ModuleType, loaded: Loaded, play: Callable[..., Any]
) -> None:
    """vLLM does not know that it must not sample one."""
    image = loaded.model.config.image_token_id
    words = loaded.processor.tokenizer(toy.WORDS)["input_ids"]

    rollout, _ = play(loaded, [[*words, image, *words], [image], toy.GOOD, toy.STOP])

    ids = [*rollout.prompt_ids, *rollout.completion_ids]
    assert ids.count(image) == 4 * len(rollout.pictures)
    assert [turn.reply for turn in rollout.episode.turns[:2]] == [toy.WORDS, ""]


def test_an_episode_of_nothing_has_one_token_and_none_to_learn(
    loaded: Loaded, play: Callable[..., Any]
) -> None:
    rollout, _ = play(loaded, [[]], turns=1)

    assert rollout.completion_ids == [loaded.processor.tokenizer.eos_token_id]
    assert rollout.trained == [0]


def test_an_episode_ends_before_its_room_does(
    toy: ModuleType, loaded: Loaded, play: Callable[..., Any]
) -> None:
    whole, _ = play(loaded, [toy.WORDS, toy.GOOD, toy.STOP])
    room = (
        len(whole.completion_ids) - 1 + 40 - len(loaded.processor.tokenizer(toy.STOP)["input_ids"])
    )

    rollout, seen = play(loaded, [toy.WORDS, toy.GOOD, toy.STOP], completion_tokens=room - 1)

    assert len(seen) == 2
    assert [turn.reply for turn in rollout.episode.turns] == [toy.WORDS, toy.GOOD]
    assert len(rollout.completion_ids) <= room
    assert rollout.completion_ids == whole.completion_ids[: len(rollout.completion_ids)]
    # the second is the first again, and the third was never told
    assert (len(whole.pictures), len(rollout.pictures)) == (2, 1)
    assert (whole.out_of_room, rollout.out_of_room) == (False, True)
    exact, seen = play(loaded, [toy.WORDS, toy.GOOD, toy.STOP], completion_tokens=room)
    assert (len(seen), exact.completion_ids) == (3, whole.completion_ids)


def test_a_conversation_beyond_the_context_is_refused(
    toy: ModuleType, loaded: Loaded, play: Callable[..., Any]
) -> None:
    with pytest.raises(TrainingRefused, match="more than the 4000 that the model can read"):
        play(loaded, [toy.STOP], context_tokens=4000)


@pytest.mark.parametrize("wrong", [{"temperature": 0.5}, {"max_new_tokens": 39}])
def test_another_way_to_sample_is_refused(
    toy: ModuleType,
    loaded: Loaded,
    chat_of: ChatOf,
    prompts: Path,
    wrong: dict[str, Any],
) -> None:
    chat, _ = chat_of(loaded, [toy.STOP])
    policy = LanguagePolicy(chat, replace(long_replies(toy.toy_settings(prompts)), **wrong))

    with pytest.raises(ValueError, match="the trainer samples neither"):
        policy.act(toy.toy_starts(toy.toy_squares(1))[0])


def test_many_episodes_keep_their_own_rows(
    toy: ModuleType, loaded: Loaded, chat_of: ChatOf, prompts: Path
) -> None:
    """Episodes that end at different turns, of which two say the same and draw otherwise."""
    from models.training.rollouts import roll_out

    replies = [toy.GOOD, toy.STOP, toy.WORDS, toy.GOOD]  # the first turn of four
    replies += [toy.STOP, toy.GOOD, toy.GOOD, toy.STOP]  # all go on: the first stop is refused
    replies += [toy.STOP, toy.STOP]
    chat, seen = chat_of(loaded, replies)
    starts = toy.toy_starts(toy.toy_squares(4))

    rollouts = roll_out(
        starts, FakeSegmenter(), chat, long_replies(toy.toy_settings(prompts)), Limits()
    )

    assert [[turn.reply for turn in one.episode.turns] for one in rollouts] == [
        [toy.GOOD, toy.STOP],
        [toy.STOP, toy.GOOD, toy.STOP],
        [toy.WORDS, toy.GOOD, toy.STOP],
        [toy.GOOD, toy.STOP],
    ]
    assert len(seen) == 4 + 4 + 2
    for start, rollout in zip(starts, rollouts, strict=True):
        clean = start.slices.picture(0)
        assert np.abs(rollout.pictures[0].pixels / 255 - clean).max() < 0.01
        decoded = loaded.processor.tokenizer.decode(rollout.completion_ids)
        assert all(turn.reply in decoded for turn in rollout.episode.turns)


def test_a_template_that_rewrites_earlier_turns_is_refused(
    toy: ModuleType, tmp_path: Path, play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_qwen3_vl(tmp_path)
    loaded = toy.load_toy(tmp_path)
    plain = loaded.processor.chat_template
    loaded.processor.chat_template = plain.replace(
        "{%- for message in messages %}\n",
        "{{ messages | length }}{%- for message in messages %}\n",
    )

    with pytest.raises(TrainingRefused, match="rewrites earlier turns"):
        play(loaded, [toy.GOOD, toy.STOP])


def test_a_template_without_marks_behind_replies_is_refused(
    toy: ModuleType, tmp_path: Path, play: Callable[..., Any]
) -> None:
    save_qwen3_vl(tmp_path)
    loaded = toy.load_toy(tmp_path)
    loaded.processor.chat_template = loaded.processor.chat_template.replace("<|im_end|>", " ")

    with pytest.raises(TrainingRefused, match="does not end a reply with a mark"):
        play(loaded, [toy.GOOD, toy.STOP])
