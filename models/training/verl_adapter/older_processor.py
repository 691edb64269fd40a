"""Pictures in the text of a prompt, for processors that cannot be asked how they write them.

verl 0.9.1 runs with transformers below 5.11, whose processors lack two methods that our prompts are
made with. For the kinds that GRPO trains, Qwen2.5-VL and Qwen3-VL, both are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from transformers import ProcessorMixin


def complete(processor: ProcessorMixin) -> ProcessorMixin:
    """The processor itself, with what it lacks."""
    if not hasattr(processor, "replace_image_token"):
        processor.replace_image_token = partial(image_tokens, processor)
    if not hasattr(processor, "get_text_with_replacements"):
        processor.get_text_with_replacements = partial(with_pictures, processor)
    return processor


def image_tokens(processor: ProcessorMixin, inputs: Mapping[str, Any], image_idx: int) -> str:
    """How picture number `image_idx` of processed `inputs` is written: a token for each square of
    merged patches.
    """
    merged = int(processor.image_processor.merge_size) ** 2
    tokens = int(inputs["image_grid_thw"][image_idx].prod()) // merged
    return str(processor.image_token) * tokens


def with_pictures(
    processor: ProcessorMixin, text: Sequence[str], pictures: Sequence[str]
) -> tuple[list[str], None]:
    """Each of the texts with `pictures` in its places for them, in order; ValueError where there is
    another number of places.
    """
    rest, whole = iter(pictures), []
    for passage in text:
        first, *others = passage.split(str(processor.image_token))
        whole.append("".join([first, *(f"{next(rest, '')}{part}" for part in others)]))
    places = sum(passage.count(str(processor.image_token)) for passage in text)
    if places != len(pictures):
        raise ValueError(f"the text has places for {places} pictures, not for {len(pictures)}")
    return whole, None
