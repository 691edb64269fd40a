"""A prompt's tokens, against what transformers' own processor makes of the same conversation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from agent.errors import ChatFailed
from agent.language.chat import Conversation, Message
from models.policies.chat.in_process.loading import Loaded
from models.policies.chat.in_process.pictures import Pictures
from models.policies.chat.in_process.prompt_tokens import Prompt, PromptTokens
from tests.models.policies.chat.conftest import FAMILIES

Opening = Callable[..., Conversation]


@pytest.fixture(params=FAMILIES)
def loaded(request: pytest.FixtureRequest, load: Callable[..., Loaded]) -> Loaded:
    return load(request.param)


@pytest.fixture
def tokens(loaded: Loaded) -> PromptTokens:
    return PromptTokens(
        loaded.processor,
        Pictures(loaded.model, loaded.processor, limit_bytes=0),
        image_token=loaded.model.config.image_token_id,
        name="site-model",
    )


def test_they_are_those_of_the_models_own_processor(
    loaded: Loaded, tokens: PromptTokens, opening: Opening, next_turn: Opening
) -> None:
    talk = next_turn(opening(0), "There.", 1)

    prompt = tokens.prepare(talk)

    pictures = [picture.pixels for picture in talk.pictures]
    begun = bool(loaded.processor.tokenizer.bos_token) and prompt.text.startswith(
        loaded.processor.tokenizer.bos_token
    )
    whole = loaded.processor(
        text=[prompt.text], images=[pictures], return_tensors="np", add_special_tokens=not begun
    )
    assert prompt.ids.tolist() == whole["input_ids"][0].tolist()
    assert len(prompt.pictures) == 2


def test_with_its_answer_a_conversation_goes_on_from_its_prompt(
    tokens: PromptTokens, opening: Opening
) -> None:
    asked = opening(0)
    answered = replace(asked, messages=(*asked.messages, Message("assistant", ("There.",))))

    prompt, whole = tokens.prepare(asked), tokens.prepare(answered, answered=True)

    assert whole.text.startswith(f"{prompt.text}There.")
    assert whole.ids.size > prompt.ids.size
    if prompt.text.endswith("\n"):  # a space there becomes part of the answer's first word
        assert np.array_equal(whole.ids[: prompt.ids.size], prompt.ids)


def test_a_template_that_leaves_a_picture_out_is_refused(
    loaded: Loaded, tokens: PromptTokens, opening: Opening
) -> None:
    loaded.processor.chat_template = "{% for message in messages %}Go.{% endfor %}"

    with pytest.raises(ChatFailed, match="site-model does not show every picture once"):
        tokens.prepare(opening(0))


def test_a_prompt_that_was_not_put_in_tokens_has_none() -> None:
    with pytest.raises(ValueError, match="not prepared in tokens"):
        assert Prompt("words", Conversation(()).pictures).ids
