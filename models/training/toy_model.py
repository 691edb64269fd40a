"""A small random Qwen3-VL with a tokenizer of its own: to see a whole training run on two cores.

It has every part of the real ones (vision tower, merged patches, deep-stacked features, rotary
positions by time, row and column, a chat template), so what trains it trains them; it knows nothing
and is of no use for patients.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.utils import logging as transformers_logging

_PAD, _END = "<|endoftext|>", "<|im_end|>"
_IMAGE, _VIDEO = "<|image_pad|>", "<|video_pad|>"
_VISION_START, _VISION_END = "<|vision_start|>", "<|vision_end|>"
_MARKS = (_PAD, "<|im_start|>", _END, _VISION_START, _VISION_END, _IMAGE, _VIDEO)
_POSITION_SPREAD = 0.5  # beside patches of about 1: where a patch lies is as loud as what it is
_ROLES = ("system\n", "user\n", "assistant\n")
_DIGITS = tuple("0123456789")  # one token each, so that a coordinate is a number to be learnt

_TEMPLATE = (
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}"
    "{%- if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}{%- endfor %}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class ToySize:
    """How large the toy is: `image_px` the side of the square that a picture is reduced to,
    `context_tokens` the longest conversation.
    """

    width: int = 96
    layers: int = 3
    heads: int = 4
    vision_width: int = 64
    vision_layers: int = 2
    vocabulary: int = 800
    image_px: int = 64
    patch_px: int = 8
    context_tokens: int = 4096


def write_toy_model(
    folder: Path, sentences: Iterable[str], size: ToySize = ToySize(), seed: int = 0
) -> Path:
    """Write a random model to `folder`, which `policy = "transformers"` loads, and return it; its
    tokenizer is trained on `sentences`. The same arguments write the same weights.
    """
    transformers_logging.disable_progress_bar()
    tokenizer = _tokenizer(sentences, size.vocabulary)
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(_config(size, tokenizer))
    _spread(model)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    pixels = {"shortest_edge": (2 * size.patch_px) ** 2, "longest_edge": size.image_px**2}
    Qwen3VLProcessor(
        Qwen2VLImageProcessor(patch_size=size.patch_px, size=pixels),
        tokenizer,
        Qwen3VLVideoProcessor(patch_size=size.patch_px),
        chat_template=_TEMPLATE,
    ).save_pretrained(folder)
    return folder


def _spread(model: Qwen3VLForConditionalGeneration) -> None:
    """Random weights that fit maps as narrow as these, in place of 0.02 for every width: what the
    model says then depends three times as much on the picture before it has learnt anything.
    """
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "pos_embed" in name:
                weights.normal_(0, _POSITION_SPREAD)
            elif weights.dim() > 1 and "embed_tokens" not in name:
                weights.normal_(0, weights[0].numel() ** -0.5)


def _tokenizer(sentences: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*sentences, *_ROLES, *_DIGITS], trainer)
    tokenizer.add_special_tokens(list(_MARKS))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=_PAD, eos_token=_END, extra_special_tokens=[*_MARKS]
    )
    fast.padding_side = "left"
    return fast


def _config(size: ToySize, tokenizer: PreTrainedTokenizerFast) -> Qwen3VLConfig:
    head = size.width // size.heads
    id_of = tokenizer.convert_tokens_to_ids
    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": size.width,
            "intermediate_size": 3 * size.width,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.heads // 2,
            "head_dim": head,
            "max_position_embeddings": size.context_tokens,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_interleaved": True,
                "mrope_section": _sections(head),
            },
        },
        vision_config={
            "depth": size.vision_layers,
            "hidden_size": size.vision_width,
            "intermediate_size": 2 * size.vision_width,
            "num_heads": 4,
            "patch_size": size.patch_px,
            "out_hidden_size": size.width,
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": [0, size.vision_layers - 1],
        },
        image_token_id=id_of(_IMAGE),
        video_token_id=id_of(_VIDEO),
        vision_start_token_id=id_of(_VISION_START),
        vision_end_token_id=id_of(_VISION_END),
        tie_word_embeddings=True,
    )


def _sections(head: int) -> list[int]:
    """How the halves of a head are shared by time, rows and columns."""
    half = head // 2
    side = half // 3
    return [half - 2 * side, side, side]
