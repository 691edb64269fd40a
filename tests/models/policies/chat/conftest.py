"""Small random language models in folders, loaded by the product's own code, and conversations with
pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.language.chat import Conversation, Message, Picture
from models.policies.chat.in_process.loading import Loaded, load_chat_model
from models.runtime.resources import LanguageOptions, Resources
from tests.support import chat_folders

FAMILIES = ("qwen3_vl", "qwen2_5_vl", "llava", "gemma3")


@pytest.fixture(autouse=True, scope="session")
def _few_threads() -> None:
    torch.set_num_threads(1)  # more only wait for each other on matrices this small


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each of FAMILIES; their names say nothing of what is in them."""

    root = tmp_path_factory.mktemp("language")
    folders = {}
    for number, family in enumerate(FAMILIES):
        folders[family] = root / f"site-model-{number}"
        getattr(chat_folders, f"save_{family}")(folders[family])
    return folders


@pytest.fixture
def load(model_folders: dict[str, Path]) -> Callable[..., Loaded]:
    """Loads a family from its folder, fresh; keyword arguments replace fields of what was
    loaded.
    """

    def loaded(family: str, **changed: Any) -> Loaded:
        options = LanguageOptions(model=str(model_folders[family]))
        return replace(load_chat_model(Resources(device="cpu", language=options)), **changed)

    return loaded


@pytest.fixture
def picture() -> Callable[..., Picture]:
    """A picture of noise by its seed."""

    def made(seed: int, width: int = 130, height: int = 100) -> Picture:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Picture(pixels)

    return made


@pytest.fixture
def opening(picture: Callable[..., Picture]) -> Callable[..., Conversation]:
    """The first turn of an episode on picture `seed`."""

    def made(seed: int, words: str = "The target is: left kidney.", **size: int) -> Conversation:
        system = Message("system", ("You outline structures in medical images.",))
        return Conversation((system, Message("user", (picture(seed, **size), words))))

    return made


@pytest.fixture
def next_turn(picture: Callable[..., Picture]) -> Callable[[Conversation, str, int], Conversation]:
    """The conversation after a reply, with a new picture."""

    def made(before: Conversation, reply: str, seed: int) -> Conversation:
        told = Message("user", (picture(seed), "The mask was kept. Next action."))
        return replace(before, messages=(*before.messages, Message("assistant", (reply,)), told))

    return made


@pytest.fixture
def plainly() -> Callable[..., tuple[np.ndarray, torch.Tensor]]:
    """The reference: one conversation alone, read whole by transformers' own processor and
    generate, greedy.

    Gives the ids of the reply and the logits (vocabulary,) of its first token.
    """

    def asked(loaded: Loaded, talk: Conversation, most: int) -> tuple[np.ndarray, torch.Tensor]:
        said = [
            {
                "role": message.role,
                "content": [
                    {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
                    for part in message.parts
                ],
            }
            for message in talk.messages
        ]
        text = loaded.processor.apply_chat_template(said, add_generation_prompt=True)
        pixels = [each.pixels for each in talk.pictures] or None
        inputs = loaded.processor(text=[text], images=pixels, return_tensors="pt")
        with torch.inference_mode():
            made = loaded.model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=most,
                return_dict_in_generate=True,
                output_logits=True,
            )
        return made.sequences[0, inputs["input_ids"].shape[1] :].numpy(), made.logits[0][0]

    return asked
