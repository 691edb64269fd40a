"""A reply ends where its action does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.language.chat import Conversation
from models.policies.chat.in_process.generating import Asking, Generator
from models.policies.chat.in_process.loading import Loaded
from models.policies.chat.in_process.readers import CachedReader
from models.policies.chat.in_process.stopping import closing_tokens, complete


@pytest.mark.parametrize(
    ("reply", "ended"),
    [
        ('<tool_call>{"name":"stop_action","arguments":{}}</tool_call>', True),
        ('A box.\n<tool_call>{"name":"stop_action"', False),
        ("<think>first</think><action>\nPositive Point (0.5000, 0.2500)\n</action>", True),
        ("<think>first</think><action>Slices (3, 7)</action>", True),
        ("<action>Terminate</action>", False),  # its answer is still to come
        ("<action>Terminate</action><answer>The mask is right.</answer>", True),
        ("<action>Absent</action>\n<answer>No kidney on this side.", False),
        ("<think>I could write </tool_call> now", False),
        ("<think>maybe </tool_call></think> so", False),
        ("<THINK>a</THINK><ACTION>Box (0, 0, 1, 1)</ACTION>", True),
        ("", False),
    ],
)
def test_whether_an_action_has_been_said(reply: str, ended: bool) -> None:
    assert complete(reply) is ended


def test_the_model_is_stopped_when_it_has_said_its_action(
    load: Callable[..., Loaded], opening: Callable[..., Conversation]
) -> None:
    loaded = load("qwen3_vl")
    close = loaded.processor.tokenizer.convert_tokens_to_ids("</tool_call>")
    loaded.model.generation_config.sequence_bias = [[[close], 1e6]]  # nothing else will be said
    reader = CachedReader(loaded, Generator(loaded))

    spoken = reader.say(
        [reader.prepare(opening(0)), reader.prepare(opening(1))], Asking(max_new_tokens=30)
    )

    assert [each.ids.tolist() for each in spoken] == [[close], [close]]


def test_a_reply_that_ended_is_not_padded_when_another_goes_on(
    load: Callable[..., Loaded], opening: Callable[..., Conversation]
) -> None:
    loaded = load("qwen3_vl")
    generator = Generator(loaded)
    reader = CachedReader(loaded, generator)
    asking = Asking(max_new_tokens=6)
    alone = reader.say([reader.prepare(opening(0))], asking)[0].ids
    loaded.model.generation_config.eos_token_id = int(
        alone[1]
    )  # the second word of this one ends it
    reader = CachedReader(loaded, Generator(loaded))

    short, long = reader.say([reader.prepare(opening(seed)) for seed in (0, 1)], asking)

    first = alone.tolist().index(alone[1])
    assert short.ids.tolist() == alone[: first + 1].tolist()
    assert long.ids.size > short.ids.size


def test_tags_are_closed_by_their_own_token_or_by_a_bracket(load: Callable[..., Loaded]) -> None:
    tokenizer = load("qwen3_vl").processor.tokenizer
    closing = closing_tokens(tokenizer)

    assert tokenizer.convert_tokens_to_ids("</tool_call>") in closing
    assert tokenizer("</answer>", add_special_tokens=False)["input_ids"][-1] in closing
    assert tokenizer("kidney", add_special_tokens=False)["input_ids"][-1] not in closing
