"""Going on from what was read gives what reading whole gives, and reads less."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from agent.language.chat import Conversation, Message
from models.policies.chat.in_process.generating import Asking, Generator
from models.policies.chat.in_process.loading import Loaded
from models.policies.chat.in_process.readers import CachedReader, PlainReader, remembers_all
from models.policies.chat.in_process.stopping import complete
from models.policies.chat.in_process.token_sequences import TokenSequence

ASKING = Asking(max_new_tokens=7)
GROWING = ("qwen3_vl", "qwen2_5_vl", "llava")


def going_on(loaded: Loaded) -> CachedReader:
    return CachedReader(loaded, Generator(loaded))


def answers(reader: Any, talks: list[Conversation], asking: Asking = ASKING) -> Any:
    return reader.say([reader.prepare(talk) for talk in talks], asking)


def reading_of(reader: CachedReader, talk: Conversation) -> TokenSequence:
    """The conversation in tokens, as this reader reads it."""
    reading = reader.prepare(talk).reading
    assert reading is not None
    return reading


def text(loaded: Loaded, spoken: Any) -> str:
    return str(loaded.processor.tokenizer.decode(spoken.ids, skip_special_tokens=True))


def assert_as_read_plainly(
    loaded: Loaded, plainly: Any, talks: list[Conversation], spoken: Any
) -> None:
    for talk, said in zip(talks, spoken, strict=True):
        ids, logits = plainly(loaded, talk, ASKING.max_new_tokens)
        whole = ids.size if not complete(text(loaded, said)) else said.ids.size
        np.testing.assert_array_equal(said.ids, ids[:whole])
        assert float((said.logits - logits).abs().max()) <= 1e-4


@pytest.mark.parametrize("family", GROWING)
def test_a_batch_of_episodes_answers_at_every_turn_as_each_would_alone_and_whole(
    family: str,
    load: Callable[..., Loaded],
    opening: Callable[..., Conversation],
    next_turn: Callable[[Conversation, str, int], Conversation],
    plainly: Callable[..., tuple[np.ndarray, torch.Tensor]],
) -> None:
    loaded = load(family)
    reader = going_on(loaded)
    talks = [
        opening(0),
        opening(1, "The target is: spleen, the organ under the left ribs. " * 3),
        opening(2, "Liver.", width=200, height=60),
    ]

    for turn in range(4):
        spoken = answers(reader, talks)
        assert_as_read_plainly(loaded, plainly, talks, spoken)
        talks = [
            next_turn(talk, text(loaded, said), 100 * turn + row)
            for row, (talk, said) in enumerate(zip(talks, spoken, strict=True))
        ]


@pytest.mark.parametrize("family", GROWING)
def test_episodes_that_came_to_different_lengths_go_on_together(
    family: str,
    load: Callable[..., Loaded],
    opening: Callable[..., Conversation],
    next_turn: Callable[[Conversation, str, int], Conversation],
    plainly: Callable[..., tuple[np.ndarray, torch.Tensor]],
) -> None:
    loaded = load(family)
    reader = going_on(loaded)
    ahead = opening(0)
    for turn in range(2):
        (said,) = answers(reader, [ahead])
        ahead = next_turn(ahead, text(loaded, said), 10 + turn)
    new = opening(5)

    spoken = answers(reader, [new, ahead])

    assert_as_read_plainly(loaded, plainly, [new, ahead], spoken)


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl"])
def test_only_what_is_new_is_read(
    family: str,
    load: Callable[..., Loaded],
    opening: Callable[..., Conversation],
    next_turn: Callable[[Conversation, str, int], Conversation],
) -> None:
    loaded = load(family)
    reader = going_on(loaded)
    read = []
    loaded.model.base_model.language_model.register_forward_pre_hook(
        lambda _, __, said: read.append(said["inputs_embeds"].shape[1]), with_kwargs=True
    )
    first = opening(0)
    (said,) = answers(reader, [first])
    second = next_turn(first, text(loaded, said), 1)
    before = len(read)

    answers(reader, [second])

    whole = len(reading_of(reader, second))
    kept = len(reading_of(reader, first))
    assert read[0] == kept
    assert (
        read[before] <= whole - kept
    )  # the reply is read only as far as it is written otherwise than it was said


def test_what_episodes_of_a_batch_begin_with_is_read_once(
    load: Callable[..., Loaded],
    opening: Callable[..., Conversation],
    plainly: Callable[..., tuple[np.ndarray, torch.Tensor]],
) -> None:
    loaded = load("qwen3_vl")
    reader = going_on(loaded)
    read = []
    loaded.model.base_model.language_model.register_forward_pre_hook(
        lambda _, __, said: read.append(tuple(said["inputs_embeds"].shape[:2])), with_kwargs=True
    )
    talks = [opening(0, f"Find the {organ}.") for organ in ("liver", "spleen", "left kidney")]

    spoken = answers(reader, talks)

    lengths = [len(reading_of(reader, talk)) for talk in talks]
    (rows, common), (batch, rest) = read[:2]
    assert (rows, batch) == (1, 3)
    assert common >= 32  # the system's words and the picture
    assert rest == max(lengths) - common
    assert_as_read_plainly(loaded, plainly, talks, spoken)


def test_the_vision_tower_sees_each_picture_once_in_all_episodes_and_turns(
    load: Callable[..., Loaded],
    opening: Callable[..., Conversation],
    next_turn: Callable[[Conversation, str, int], Conversation],
) -> None:
    loaded = load("qwen3_vl")
    reader = going_on(loaded)
    seen = []
    loaded.model.base_model.visual.register_forward_pre_hook(
        lambda _, __, said: seen.append(len(said["grid_thw"])), with_kwargs=True
    )
    shown = opening(0).pictures[0]
    talks = [  # nothing is common before the picture
        Conversation((Message("user", (words, shown)),)) for words in ("Liver.", "Spleen.")
    ]

    for talk in talks:
        (said,) = answers(reader, [talk])
        answers(reader, [next_turn(talk, text(loaded, said), 1)])

    assert sum(seen) == 2


def test_the_same_words_over_other_pixels_are_read_anew(
    load: Callable[..., Loaded],
    opening: Callable[..., Conversation],
    plainly: Callable[..., tuple[np.ndarray, torch.Tensor]],
) -> None:
    loaded = load("qwen3_vl")
    reader = going_on(loaded)
    answers(reader, [opening(0)])
    other = opening(1)

    spoken = answers(reader, [other])

    np.testing.assert_array_equal(reading_of(reader, opening(0)).ids, reading_of(reader, other).ids)
    assert_as_read_plainly(loaded, plainly, [other], spoken)


def test_one_prompt_answered_differently_goes_on_in_either_way(
    load: Callable[..., Loaded],
    opening: Callable[..., Conversation],
    next_turn: Callable[[Conversation, str, int], Conversation],
    plainly: Callable[..., tuple[np.ndarray, torch.Tensor]],
) -> None:
    loaded = load("qwen2_5_vl")
    reader = going_on(loaded)
    first = opening(0)
    answers(reader, [first, first])
    talks = [next_turn(first, "A box.", 1), next_turn(first, "Rather a point.", 1)]

    for _ in range(2):
        assert_as_read_plainly(loaded, plainly, talks, answers(reader, talks))


def test_a_conversation_without_pictures_is_answered(
    load: Callable[..., Loaded], plainly: Callable[..., tuple[np.ndarray, torch.Tensor]]
) -> None:
    loaded = load("qwen3_vl")
    talk = Conversation((Message("user", ("Which slices show the liver?",)),))

    spoken = answers(going_on(loaded), [talk])

    assert_as_read_plainly(loaded, plainly, [talk], spoken)


def test_what_was_let_go_is_read_again(
    load: Callable[..., Loaded],
    opening: Callable[..., Conversation],
    next_turn: Callable[[Conversation, str, int], Conversation],
    plainly: Callable[..., tuple[np.ndarray, torch.Tensor]],
) -> None:
    loaded = load("qwen3_vl", keep_bytes=0)
    reader = going_on(loaded)
    first = opening(0)
    (said,) = answers(reader, [first])
    second = next_turn(first, text(loaded, said), 1)

    spoken = answers(reader, [second])

    assert len(reader.kept) == 0
    assert_as_read_plainly(loaded, plainly, [second], spoken)


def test_what_is_kept_stays_within_its_limit(
    load: Callable[..., Loaded], opening: Callable[..., Conversation]
) -> None:
    loaded = load("qwen3_vl", keep_bytes=120_000)
    reader = going_on(loaded)

    for seed in range(6):
        answers(reader, [opening(seed)])
        assert reader.kept.nbytes <= 90_000

    assert 0 < len(reader.kept) < 6


def test_an_episode_holds_one_state_however_many_turns_it_took(
    load: Callable[..., Loaded],
    opening: Callable[..., Conversation],
    next_turn: Callable[[Conversation, str, int], Conversation],
) -> None:
    loaded = load("qwen3_vl")
    reader = going_on(loaded)
    talk = opening(0)

    for turn in range(3):
        (said,) = answers(reader, [talk])
        talk = next_turn(talk, text(loaded, said), turn + 1)

    assert len(reader.kept) == 1


def test_in_bfloat16_going_on_stays_near_reading_whole(
    load: Callable[..., Loaded],
    opening: Callable[..., Conversation],
    next_turn: Callable[[Conversation, str, int], Conversation],
) -> None:
    loaded = load("qwen3_vl")
    loaded.model.to(torch.bfloat16)
    generator = Generator(loaded)
    reader, whole = CachedReader(loaded, generator), PlainReader(loaded, generator)
    first = opening(0)
    (said,) = answers(reader, [first])
    second = next_turn(first, text(loaded, said), 1)

    (one,), (other,) = answers(reader, [second]), answers(whole, [second])

    assert float((one.logits - other.logits).abs().max() / other.logits.abs().max()) < 0.05


def test_a_model_with_a_sliding_window_is_not_gone_on_with(
    load: Callable[..., Loaded],
    opening: Callable[..., Conversation],
    plainly: Callable[..., tuple[np.ndarray, torch.Tensor]],
) -> None:
    loaded = load("gemma3")
    assert not remembers_all(loaded)
    talks = [opening(0), opening(1, "Liver.")]

    spoken = answers(PlainReader(loaded, Generator(loaded)), talks)

    for talk, said in zip(talks, spoken, strict=True):
        ids, _ = plainly(loaded, talk, ASKING.max_new_tokens)
        np.testing.assert_array_equal(said.ids, ids)
