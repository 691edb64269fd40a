"""The networks on a GPU against the same ones on the processor; skipped in one line where there is
no GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.fakes import ArraySlices
from agent.language.chat import Conversation, Message, Picture
from agent.ports import PromptedSlice, Seed
from agent.values import Box, Point, Prompts
from models.policies.chat.in_process.transformers_chat import transformers_chat
from models.runtime.resources import LanguageOptions, Precision, Quantisation, Resources
from models.segmenters.sam.segmenter import SamSegmenter
from models.segmenters.sam2.volume import Sam2VolumeSegmenter
from tests.support import seeded_networks

SHAPE = (40, 52)
PROMPTS = (
    Prompts(box=Box(5, 8, 30, 33)),
    Prompts(points=(Point(20, 20), Point(40, 6, positive=False))),
    Prompts(box=Box(5, 8, 30, 33), points=(Point(20, 20),)),
)


@pytest.fixture(scope="module")
def gpu() -> str:
    """The first GPU's name."""
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    return "cuda:0"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """A narrow segmenter by its family, on a device."""
    folder = tmp_path_factory.mktemp("networks")

    def build(family: str, device: str, **said: Any) -> Any:
        resources = Resources(cache_dir=folder, threads=1, device=device, **said)
        if family == "sam":
            path = seeded_networks.sam_checkpoint(folder)
            return SamSegmenter("sam", path, seeded_networks.NARROW_SAM, resources=resources)
        path = seeded_networks.sam2_checkpoint(folder)
        return Sam2VolumeSegmenter("sam2", path, seeded_networks.NARROW, resources=resources)

    return build


def logits_of(segmenter: Any) -> np.ndarray:
    image = np.random.default_rng(5).random(SHAPE, dtype=np.float32)
    encoding = segmenter.encode(image)
    answers = segmenter.segment_many([PromptedSlice(encoding, prompts) for prompts in PROMPTS])
    assert all(answer.mask.shape == SHAPE for answer in answers)
    return np.stack([answer.logits for answer in answers])


@pytest.mark.parametrize("family", ["sam2", "sam"])
def test_float32_is_the_processors(gpu: str, opened: Callable[..., Any], family: str) -> None:
    here = logits_of(opened(family, "cpu"))

    there = logits_of(opened(family, gpu, precision=Precision.FLOAT32))

    np.testing.assert_allclose(there, here, atol=2e-2, rtol=0)  # a GPU may multiply in TF32


@pytest.mark.parametrize("family", ["sam2", "sam"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_bfloat16_is_near(
    gpu: str, opened: Callable[..., Any], family: str, compiled: bool
) -> None:
    here = logits_of(opened(family, "cpu"))

    there = logits_of(opened(family, gpu, precision=Precision.BFLOAT16, compiled=compiled))

    assert there.dtype == np.float32
    assert 0 < np.median(np.abs(there - here)) < 0.5


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.BFLOAT16])
def test_objects_are_followed_together(
    gpu: str, opened: Callable[..., Any], precision: Precision
) -> None:
    # Arrange
    noise = np.random.default_rng(7).random((5, *SHAPE), dtype=np.float32)
    y, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
    seeds = [Seed({2: (x - at) ** 2 + (y - 20) ** 2 <= 64}) for at in (14, 26, 38)]

    def follow(segmenter: Any) -> dict[tuple[int, int], np.ndarray]:
        slices = ArraySlices(noise, segmenter)
        drawn = segmenter.propagate(slices, seeds, lambda _: True)
        return {(one.index, one.z): one.segmentation.logits for one in drawn}

    # Act
    here, there = follow(opened("sam2", "cpu")), follow(opened("sam2", gpu, precision=precision))

    # Assert
    assert there.keys() == here.keys()
    for key, logits in here.items():
        assert np.median(np.abs(there[key] - logits)) < 0.5


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl"])
@pytest.mark.parametrize(
    ("quantisation", "device_map"),
    [
        (Quantisation.NONE, ""),
        (Quantisation.NONE, "auto"),
        (Quantisation.INT8, ""),
        (Quantisation.INT4, ""),
    ],
)
def test_a_language_model_answers(
    gpu: str,
    tmp_path: Path,
    family: str,
    quantisation: Quantisation,
    device_map: str,
) -> None:
    # Arrange
    from tests.support import chat_folders

    if quantisation or device_map:
        pytest.importorskip("accelerate")
    if quantisation:
        pytest.importorskip("bitsandbytes")
    getattr(chat_folders, f"save_{family}")(tmp_path / "model")
    language = LanguageOptions(
        model=str(tmp_path / "model"), quantisation=quantisation, device_map=device_map
    )
    chat = transformers_chat(Resources(device=gpu, language=language))
    pixels = np.random.default_rng(1).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    opening = Conversation((Message("user", (Picture(pixels), "The target is: liver.")),))

    # Act: a turn, and the next one on what was kept of it
    (first,) = chat.answer([opening], temperature=0.0, max_new_tokens=8)
    told = (Message("assistant", (first.text,)), Message("user", (Picture(pixels), "Go on.")))
    (second,) = chat.answer(
        [Conversation((*opening.messages, *told))], temperature=0.0, max_new_tokens=8
    )

    # Assert
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens > 0
