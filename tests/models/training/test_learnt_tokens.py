"""What is trained is what is served, token for token: against labels made by hand, against what the
serving policy asks with, and against files of ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pytest

from agent.language.chat import Conversation, Message, Picture
from agent.protocol.dialects import Dialect
from models.training.learnt_tokens import LearntSequence, learnt_sequences
from tests.models.training.conftest import FAMILIES
from tests.support.fixture_types import PlannerFolders
from tests.support.scripted_trajectories import ScriptedEpisode
from tests.support.token_golden import (
    EPISODES,
    golden_episode,
    golden_tokens,
    loaded_planner,
    spans_of,
    whole_conversation,
)

if TYPE_CHECKING:
    from models.policies.chat.in_process.loading import Loaded
    from models.training.planner_tokens import PlannerTokens

PICTURE_TOKENS = 4  # of 64 pixels a side: 4 x 4 patches, or 4 x 4 of a picture resized to 56


class Planner(NamedTuple):
    """A small random model: its family, the model as it is loaded, and its tokens."""

    family: str
    loaded: Loaded
    tokens: PlannerTokens


@pytest.fixture(params=FAMILIES, scope="module")
def planner(request: pytest.FixtureRequest, planner_folders: PlannerFolders) -> Planner:
    from models.training.planner_tokens import planner_tokens

    loaded = loaded_planner(planner_folders(request.param))
    return Planner(request.param, loaded, planner_tokens(loaded))


@pytest.fixture(params=list(Dialect))
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return request.param


@pytest.fixture(params=EPISODES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def labels_by_hand(
    tokenizer: Any, conversation: Conversation, learnt: list[bool]
) -> tuple[list[int], list[int]]:
    """Ids and labels of a conversation written down piece by piece as Qwen writes it."""
    ids: list[int] = []
    labels: list[int] = []

    def write(text: str, *, learn: bool) -> None:
        piece = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids.extend(piece)
        labels.extend(piece if learn else [-100] * len(piece))

    for message, learn in zip(conversation.messages, learnt, strict=True):
        text = "".join(
            "<|vision_start|>" + "<|image_pad|>" * PICTURE_TOKENS + "<|vision_end|>"
            if isinstance(part, Picture)
            else part
            for part in message.parts
        )
        if message.role == "assistant":
            write("<|im_start|>assistant\n", learn=False)
            write(f"{text}<|im_end|>", learn=learn)
            write("\n", learn=False)
        else:
            write(f"<|im_start|>{message.role}\n{text}<|im_end|>\n", learn=False)
    return ids[:-1], labels[:-1]  # nothing is read behind the last reply's end


def sequences(planner: PlannerTokens, episode: ScriptedEpisode) -> list[LearntSequence]:
    conversation, learnt = whole_conversation(episode)
    return learnt_sequences(planner.tokens, conversation, learnt, planner.ends)


def test_the_labels_are_those_made_by_hand(planner: Planner, dialect: Dialect, name: str) -> None:
    _, loaded, tokens = planner
    episode = golden_episode(name, dialect)
    conversation, learnt = whole_conversation(episode)
    ids, labels = labels_by_hand(loaded.processor.tokenizer, conversation, learnt)

    (sequence,) = sequences(tokens, episode)

    assert sequence.ids.tolist() == ids
    assert np.where(sequence.learnt, sequence.ids, -100).tolist() == labels
    assert sequence.pictures == len(conversation.pictures)


def test_a_wrong_reply_is_read_and_not_learnt(planner: Planner, dialect: Dialect) -> None:
    _, loaded, tokens = planner
    episode = golden_episode("five pictures", dialect)
    assert episode.learnt == (True, True, False, True, True)

    (sequence,) = sequences(tokens, episode)

    decode = loaded.processor.tokenizer.decode
    taught = [decode(sequence.ids[start:end]) for start, end in spans_of(sequence.learnt)]
    right = [reply for reply, flag in zip(episode.replies, episode.learnt, strict=True) if flag]
    assert taught == [f"{reply}<|im_end|>" for reply in right]
    assert episode.replies[2] in decode(sequence.ids)


def test_each_reply_is_learnt_behind_what_serving_asks_with(
    planner: Planner, dialect: Dialect, name: str
) -> None:
    _, loaded, tokens = planner
    from models.policies.chat.in_process.generating import Generator
    from models.policies.chat.in_process.readers import CachedReader

    served = CachedReader(loaded, Generator(loaded))
    episode = golden_episode(name, dialect)

    (sequence,) = sequences(tokens, episode)

    starts = {start for start, _ in spans_of(sequence.learnt)}
    asked = [served.prepare(conversation).ids for conversation in episode.asked]
    for prompt in asked:
        assert np.array_equal(sequence.ids[: prompt.size], prompt)
    right = zip(asked, episode.learnt, strict=True)
    assert starts == {prompt.size for prompt, flag in right if flag}


def test_the_models_own_processor_reads_the_same(
    planner: Planner, dialect: Dialect, name: str
) -> None:
    _, loaded, tokens = planner
    conversation = golden_episode(name, dialect).asked[-1]

    prompt = tokens.tokens.prepare(conversation)

    pictures = [picture.pixels for picture in conversation.pictures]
    whole = loaded.processor(text=[prompt.text], images=[pictures], return_tensors="np")
    assert prompt.ids.tolist() == whole["input_ids"][0].tolist()


def test_the_ids_are_those_of_the_golden_files(
    planner: Planner, dialect: Dialect, name: str
) -> None:
    family, _, tokens = planner

    (sequence,) = sequences(tokens, golden_episode(name, dialect))

    golden = golden_tokens(family, dialect, name)
    assert sequence.ids.tolist() == golden.ids
    assert spans_of(sequence.learnt) == golden.learnt


def said(role: Literal["user", "assistant"], text: str) -> Message:
    return Message(role, (text,))


def talk(*replies: str) -> tuple[Conversation, list[bool]]:
    """A question before each reply, and all replies learnt."""
    messages = [
        each for reply in replies for each in (said("user", "Go."), said("assistant", reply))
    ]
    return Conversation(tuple(messages)), [message.role == "assistant" for message in messages]


def with_template(loaded: Loaded, template: str) -> PlannerTokens:
    from copy import copy
    from dataclasses import replace

    from models.training.planner_tokens import planner_tokens

    processor = copy(loaded.processor)
    processor.chat_template = template
    return planner_tokens(replace(loaded, processor=processor))


DROPS_OLD_THOUGHTS = """\
{%- for message in messages %}{% set newest = loop.last %}<|im_start|>{{ message.role }}
{% for part in message.content %}{{ part.text if newest else part.text | replace('thought ', '') }}
{%- endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

CHANGES_REPLIES = DROPS_OLD_THOUGHTS.replace("if newest else part.text", "if false else part.text")

ASKS_OTHERWISE = DROPS_OLD_THOUGHTS.replace(
    "<|im_start|>assistant\n", "<|im_start|>assistant\n<think>"
)


def test_a_template_that_drops_old_thoughts_gives_each_reply_its_own_sequence(
    planner: Planner,
) -> None:
    _, loaded, _ = planner
    tokens = with_template(loaded, DROPS_OLD_THOUGHTS)
    conversation, learnt = talk("thought one", "thought two")

    first, second = learnt_sequences(tokens.tokens, conversation, learnt, tokens.ends)

    decode = loaded.processor.tokenizer.decode
    assert decode(first.ids[first.learnt]) == "thought one<|im_end|>"
    assert decode(second.ids[second.learnt]) == "thought two<|im_end|>"
    assert "thought one" not in decode(second.ids)
    prompt = tokens.tokens.prepare(Conversation(conversation.messages[:3]))
    assert np.array_equal(second.ids[: prompt.ids.size], prompt.ids)


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        (CHANGES_REPLIES, "changes what is replied"),
        (ASKS_OTHERWISE, "asks for a reply otherwise than it writes it down"),
    ],
)
def test_a_template_under_which_training_would_not_be_serving_is_refused(
    planner: Planner, template: str, fault: str
) -> None:
    _, loaded, _ = planner
    tokens = with_template(loaded, template)
    conversation, learnt = talk("thought one")

    with pytest.raises(ValueError, match=fault):
        learnt_sequences(tokens.tokens, conversation, learnt, tokens.ends)


def test_a_reply_that_would_run_into_the_prompt_is_learnt_as_it_is_said(planner: Planner) -> None:
    _, loaded, _ = planner
    runs_on = DROPS_OLD_THOUGHTS.replace("{{ message.role }}\n", "{{ message.role }}: th").replace(
        "<|im_start|>assistant\n", "<|im_start|>assistant: th"
    )
    tokens = with_template(loaded, runs_on)
    conversation, learnt = talk("e target is there")
    prompt = tokens.tokens.prepare(Conversation(conversation.messages[:1]))
    written = tokens.tokens.prepare(conversation, answered=True)
    assert not np.array_equal(written.ids[: prompt.ids.size], prompt.ids)

    (sequence,) = learnt_sequences(tokens.tokens, conversation, learnt, tokens.ends)

    assert np.array_equal(sequence.ids[~sequence.learnt], prompt.ids)
    decode = loaded.processor.tokenizer.decode
    assert decode(sequence.ids[sequence.learnt]) == "e target is there<|im_end|>"
