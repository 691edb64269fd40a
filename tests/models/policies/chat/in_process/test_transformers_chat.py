"""The chat model as the agent sees it: answers in order, whatever the batch, and failures that say
what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Never

import numpy as np
import pytest
import torch

from agent.errors import ChatFailed
from agent.language.chat import Conversation, Message
from agent.protocol.coordinates import Coordinates
from models.policies.chat.in_process.generating import Generator
from models.policies.chat.in_process.loading import Loaded, load_chat_model
from models.policies.chat.in_process.readers import CachedReader, PlainReader
from models.policies.chat.in_process.transformers_chat import TransformersChat, transformers_chat
from models.policies.chat.in_process.trial import chosen_reader
from models.runtime.resources import LanguageOptions, Resources
from models.training.running.saved_model import save_served


def said(chat: Any, talks: Any, most: int = 6) -> Any:
    return chat.answer(talks, temperature=0.0, max_new_tokens=most)


@pytest.fixture
def talks(opening: Callable[..., Conversation]) -> list[Conversation]:
    return [opening(seed, "The target is: liver. " * (seed % 3 + 1)) for seed in range(5)]


@pytest.mark.parametrize("family", ["qwen3_vl", "gemma3"])
def test_answers_come_in_order_in_batches_of_any_size(
    family: str, load: Callable[..., Loaded], talks: list[Conversation]
) -> None:
    loaded = load(family)

    one_by_one = said(TransformersChat(loaded, batch=1), talks)
    by_two = said(TransformersChat(loaded, batch=2), talks)
    at_once = said(TransformersChat(loaded, batch=8), talks)

    assert one_by_one == by_two == at_once
    assert len({answer.text for answer in at_once}) > 1 or family == "gemma3"


def test_it_is_built_from_what_the_site_sets_and_counts_its_tokens(
    model_folders: dict[str, Path], opening: Callable[..., Conversation]
) -> None:
    options = LanguageOptions(model=str(model_folders["qwen2_5_vl"]), batch=2)
    chat = transformers_chat(Resources(device="cpu", language=options))

    (answer,) = said(chat, [opening(0)], most=4)

    assert chat.name == answer.usage.model == "site-model-1"
    assert answer.usage.input_tokens > 20
    assert 1 <= answer.usage.output_tokens <= 4


def test_no_conversations_have_no_answers(load: Callable[..., Loaded]) -> None:
    assert said(TransformersChat(load("qwen3_vl"), batch=2), []) == []


def test_at_temperature_zero_it_repeats_itself_and_above_it_does_not(
    load: Callable[..., Loaded], opening: Callable[..., Conversation]
) -> None:
    chat = TransformersChat(load("qwen3_vl"), batch=4)
    talks = [opening(0)] * 4
    torch.manual_seed(3)

    still = {answer.text for answer in chat.answer(talks, temperature=0.0, max_new_tokens=8)}
    warm = {answer.text for answer in chat.answer(talks, temperature=1.5, max_new_tokens=8)}

    assert len(still) == 1
    assert len(warm) > 1


@pytest.mark.parametrize("family", ["qwen3_vl", "gemma3"])
def test_a_conversation_longer_than_the_model_can_read_fails_with_what_to_do(
    family: str, load: Callable[..., Loaded], opening: Callable[..., Conversation]
) -> None:
    loaded = load(family)
    chat = TransformersChat(loaded, batch=2)
    loaded.model.config.get_text_config().max_position_embeddings = 60

    with pytest.raises(
        ChatFailed, match=r"tokens, and with 20 for the answer .* allow fewer turns"
    ):
        said(chat, [opening(0, "liver " * 40)], most=20)


def test_a_marks_of_the_template_in_an_answer_never_reach_the_next_prompt(
    load: Callable[..., Loaded], opening: Callable[..., Conversation]
) -> None:
    loaded = load("qwen3_vl")
    mark = loaded.model.config.image_token_id
    loaded.model.generation_config.sequence_bias = [[[mark], 1e6]]
    chat = TransformersChat(loaded, batch=2)
    first = opening(0)

    (answer,) = said(chat, [first])
    again = Conversation((*first.messages, Message("assistant", (answer.text,)), first.messages[1]))

    assert answer.text == ""
    assert len(said(chat, [again])) == 1


class Memory:
    """Room for so many rows at once; a model with more is out of memory."""

    def __init__(self, model: Any, rows: int, fault: Exception) -> None:
        self.rows, self.fault = rows, fault
        self.runs: list[int] = []
        model.register_forward_pre_hook(self._admit, with_kwargs=True)

    def _admit(self, _: Any, __: Any, inputs: Any) -> None:
        rows = inputs["input_ids"].shape[0]
        self.runs.append(rows)
        if rows > self.rows:
            raise self.fault


FAULTS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError(
        "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=["gpu", "cpu"])
def test_what_does_not_fit_is_halved_until_it_does(
    load: Callable[..., Loaded], talks: list[Conversation], fault: Exception
) -> None:
    expected = said(TransformersChat(load("qwen3_vl"), batch=8), talks)
    loaded = load("qwen3_vl")
    chat = TransformersChat(loaded, batch=8)
    memory = Memory(loaded.model, 2, fault)

    assert said(chat, talks) == expected
    assert [rows for rows in memory.runs if rows > 2] == [5, 3]


def test_no_memory_for_one_fails_with_what_to_do(
    load: Callable[..., Loaded], opening: Callable[..., Conversation]
) -> None:
    loaded = load("qwen3_vl")
    chat = TransformersChat(loaded, batch=8)
    Memory(loaded.model, 0, FAULTS[0])

    with pytest.raises(ChatFailed, match="no memory for even one"):
        said(chat, [opening(0), opening(1)])


def test_another_fault_of_the_model_is_not_taken_for_a_lack_of_memory(
    load: Callable[..., Loaded], opening: Callable[..., Conversation]
) -> None:
    loaded = load("qwen3_vl")
    chat = TransformersChat(loaded, batch=8)
    Memory(loaded.model, 0, RuntimeError("the sizes of tensors do not match"))

    with pytest.raises(RuntimeError, match="do not match"):
        said(chat, [opening(0)])


@pytest.mark.parametrize(
    ("family", "reader"),
    [
        ("qwen3_vl", CachedReader),
        ("qwen2_5_vl", CachedReader),
        ("llava", CachedReader),
        ("gemma3", PlainReader),
    ],
)
def test_each_family_is_read_in_the_way_it_was_tried(
    family: str, reader: Any, load: Callable[..., Loaded]
) -> None:
    loaded = load(family)

    assert type(chosen_reader(loaded, Generator(loaded))) is reader


def test_a_model_that_answers_otherwise_when_gone_on_with_is_read_whole(
    load: Callable[..., Loaded], caplog: pytest.LogCaptureFixture
) -> None:
    loaded = load("qwen3_vl")
    features = loaded.model.get_image_features

    def doubled(*given: Any, **named: Any) -> Any:
        output = features(*given, **named)
        output.pooler_output = [2 * each for each in output.pooler_output]
        return output

    loaded.model.get_image_features = doubled  # pixels take the inner model's own way

    assert type(chosen_reader(loaded, Generator(loaded))) is PlainReader
    assert "answers differently" in caplog.text


def test_a_model_that_cannot_be_asked_so_is_read_whole(
    load: Callable[..., Loaded], caplog: pytest.LogCaptureFixture
) -> None:
    loaded = load("qwen3_vl")

    def unknown(**named: Any) -> Never:
        raise TypeError("unexpected keyword argument")

    loaded.model.get_image_features = unknown

    assert type(chosen_reader(loaded, Generator(loaded))) is PlainReader
    assert "unexpected keyword" in caplog.text


def test_a_template_that_shows_a_picture_twice_fails_with_why(
    load: Callable[..., Loaded], opening: Callable[..., Conversation]
) -> None:
    loaded = load("qwen3_vl")
    mark = "<|vision_start|><|image_pad|><|vision_end|>"
    chat = TransformersChat(loaded, batch=1)
    loaded.processor.chat_template = loaded.processor.chat_template.replace(mark, "")

    with pytest.raises(ChatFailed, match="does not show every picture once"):
        said(chat, [opening(0)])


def test_a_batch_of_none_is_refused(load: Callable[..., Loaded]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        TransformersChat(load("qwen3_vl"), batch=0)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("qwen2_5_vl", Coordinates.PIXELS),
        ("qwen3_vl", Coordinates.THOUSANDTHS),
        ("gemma3", Coordinates.AUTO),
    ],
)
def test_a_family_is_known_by_what_the_model_is_and_not_by_its_folder(
    load: Callable[..., Loaded], family: str, kind: Coordinates
) -> None:
    chat = TransformersChat(load(family), batch=1)

    assert chat.coordinates is kind


def test_pixels_are_those_that_the_model_s_own_processor_makes(
    load: Callable[..., Loaded],
) -> None:
    loaded = load("qwen2_5_vl")
    processor = loaded.processor.image_processor
    for width, height in ((512, 512), (300, 200), (64, 90)):
        picture = np.zeros((height, width, 3), dtype=np.uint8)
        _, rows, columns = processor([picture], return_tensors="pt")["image_grid_thw"][0].tolist()

        seen = TransformersChat(loaded, batch=1).seen_px((width, height))

        assert seen == (columns * processor.patch_size, rows * processor.patch_size)


def test_a_model_that_was_trained_here_writes_what_it_was_trained_with(
    load: Callable[..., Loaded], tmp_path: Path
) -> None:
    loaded = load("qwen2_5_vl")
    save_served(loaded.model, loaded.processor, tmp_path / "trained")

    options = LanguageOptions(model=str(tmp_path / "trained"))
    trained = TransformersChat(load_chat_model(Resources(language=options)), batch=1)

    assert trained.coordinates is Coordinates.THOUSANDTHS
