"""The toy model is loaded and asked as a real one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.language.chat import Conversation, Message, Picture
from models.policies.chat.in_process.loading import load_chat_model
from models.policies.chat.in_process.transformers_chat import TransformersChat
from models.runtime.resources import LanguageOptions, Resources
from models.training.toy_model import ToySize, write_toy_model

SENTENCES = (
    "The target is: liver. Decide the first action.",
    "<tool_call>",
    "</tool_call>",
    *["105 999 20"] * 20,
)
SMALL = ToySize(width=32, vision_width=32, layers=2, vocabulary=300, image_px=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("toy") / "model", SENTENCES, SMALL)


def resources(folder: Path) -> Resources:
    return Resources(device="cpu", language=LanguageOptions(model=str(folder)))


def test_the_serving_policy_loads_it_and_it_answers(folder: Path) -> None:
    chat = TransformersChat(load_chat_model(resources(folder)), batch=1)
    picture = Picture(np.full((64, 64, 3), 128, np.uint8))
    conversation = Conversation((Message("user", (picture, "The target is: liver.")),))
    (answer,) = chat.answer([conversation], temperature=0.0, max_new_tokens=5)
    assert 1 <= answer.usage.output_tokens <= 5


def test_a_digit_is_one_token_and_text_comes_back_unchanged(folder: Path) -> None:
    tokenizer = load_chat_model(resources(folder)).processor.tokenizer
    text = '{"bbox_2d": [105, 20, 999, 4]} µ\n'
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert sum(tokenizer.decode([token]).strip() in set("0123456789") for token in ids) == 10


def test_words_that_always_come_together_are_one_token(tmp_path: Path) -> None:
    call = '<tool_call>{"name": "add_bbox", "arguments": {"bbox": ['
    sentences = [f"{call}{number}]}}}}</tool_call>" for number in range(100, 130)]
    size = replace(SMALL, vocabulary=400)
    folder = write_toy_model(tmp_path / "model", sentences, size)
    tokenizer = load_chat_model(resources(folder)).processor.tokenizer
    tokens = [tokenizer.decode([token]) for token in tokenizer(sentences[5])["input_ids"]]
    assert tokens == [call, "1", "0", "5", "]}}</tool_call>"]


def test_what_it_says_depends_on_where_something_lies_before_it_has_learnt_anything(
    folder: Path,
) -> None:
    loaded = load_chat_model(resources(folder))
    pictures = np.zeros((2, 64, 64, 3), np.uint8)
    pictures[0, :16, :16] = pictures[1, 48:, 48:] = 255  # the same square in two corners
    text = "<|vision_start|><|image_pad|><|vision_end|>"
    inputs = loaded.processor(text=[text] * 2, images=list(pictures), return_tensors="pt")
    with torch.no_grad():
        first, second = loaded.model(**inputs).logits[:, -1]
    assert float((first - second).std() / first.std()) > 0.12


def test_the_same_seed_writes_the_same_weights_and_another_does_not(
    folder: Path, tmp_path: Path
) -> None:
    def weights(place: Path) -> torch.Tensor:
        return load_chat_model(resources(place)).model.get_input_embeddings().weight

    again = write_toy_model(tmp_path / "again", SENTENCES, SMALL)
    other = write_toy_model(tmp_path / "other", SENTENCES, SMALL, seed=1)
    assert torch.equal(weights(folder), weights(again))
    assert not torch.equal(weights(folder), weights(other))
