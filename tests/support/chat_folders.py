"""Folders of small random language models of real architectures, with processors and a tokenizer
trained here.

Imported within a fixture: transformers takes seconds to load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

MARKS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
WORDS = ["<tool_call>", "</tool_call>", "<think>", "</think>"]  # one token each, and no marks

TEXT = [
    "You outline structures in medical images. The target is: left kidney. Decide the first action.",
    'Call exactly one function. {"name": "add_bbox", "arguments": {"bbox_2d": [100, 200, 300, 400]}}',
    '{"name": "add_point", "arguments": {"point_2d": [512, 480], "point_type": "positive"}}',
    "<action>\nPositive Point (0.5000, 0.2500)\n</action> <answer>The mask is right.</answer>",
    "The mask was kept, score 0.83. Next action; stop_action when it is right. system user assistant",
]

QWEN = """\
{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{% for part in messages[0].content %}{{ part.text }}{% endfor %}

{% endif %}# Tools

You may call one or more functions. Their signatures are within <tools></tools>:
<tools>{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
</tools><|im_end|>
{% endif %}
{%- for message in messages %}
{%- if not (tools and loop.first and message.role == 'system') %}<|im_start|>{{ message.role }}
{% for part in message.content %}
{%- if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}
{%- endfor %}
{%- for call in message.tool_calls %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

PLAIN = """\
{%- for message in messages %}{{ message.role | upper }}: {% for part in message.content %}
{%- if part.type == 'image' %}<image>
{% else %}{{ part.text }}{% endif %}
{%- endfor %}
{% endfor %}
{%- if add_generation_prompt %}ASSISTANT: {% endif %}"""


@dataclass(frozen=True)
class Size:
    """How large a model is made: widths and depths of its language part and of its vision tower."""

    width: int = 32
    layers: int = 3
    heads: int = 4
    vision_width: int = 32
    vision_layers: int = 3
    vocabulary: int = 600
    context_tokens: int = 4096
    image_px: int = 112
    sentences: tuple[str, ...] = ()  # that the tokenizer also learns from
    words: tuple[str, ...] = ()  # that are one token each


TINY = Size()


def trained_tokenizer(
    marks: list[str], size: Size, named: dict[str, str] | None = None
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on a few sentences of the protocols; `named` marks by
    their roles.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size.vocabulary,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*TEXT * 4, *size.sentences], trainer)
    tokenizer.add_special_tokens(marks)
    tokenizer.add_tokens([*WORDS, *size.words])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=marks[0],
        eos_token=marks[min(2, len(marks) - 1)],
        extra_special_tokens=named or marks,
    )
    fast.padding_side = "left"
    return fast


def save_qwen3_vl(folder: Path, size: Size = TINY) -> None:
    """Qwen3-VL of random weights."""
    tokenizer = trained_tokenizer(MARKS, size)
    ids = _mark_ids(tokenizer)
    pixels = {"shortest_edge": 32 * 32, "longest_edge": size.image_px**2}
    images = Qwen2VLImageProcessor(patch_size=16, size=pixels)
    videos = Qwen3VLVideoProcessor(patch_size=16)
    head = size.width // size.heads
    config = Qwen3VLConfig(
        text_config=_text(size, tokenizer)
        | {
            "head_dim": head,
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
            "num_heads": 2,
            "out_hidden_size": size.width,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, size.vision_layers - 1],
        },
        **ids,
    )
    _save(folder, Qwen3VLForConditionalGeneration, config, tokenizer)
    Qwen3VLProcessor(images, tokenizer, videos, chat_template=QWEN).save_pretrained(folder)


def save_qwen2_5_vl(folder: Path, size: Size = TINY) -> None:
    """Qwen2.5-VL of random weights."""
    tokenizer = trained_tokenizer(MARKS, size)
    ids = _mark_ids(tokenizer)
    pixels = {"shortest_edge": 28 * 28, "longest_edge": size.image_px**2}
    images = Qwen2VLImageProcessor(patch_size=14, size=pixels)
    videos = Qwen2VLVideoProcessor(patch_size=14)
    head = size.width // size.heads
    config = Qwen2_5_VLConfig(
        text_config=_text(size, tokenizer)
        | {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": _sections(head),
            },
        },
        vision_config={
            "depth": size.vision_layers,
            "hidden_size": size.vision_width,
            "intermediate_size": 2 * size.vision_width,
            "num_heads": 2,
            "out_hidden_size": size.width,
            "window_size": 56,
            "fullatt_block_indexes": [size.vision_layers - 1],
        },
        **ids,
    )
    _save(folder, Qwen2_5_VLForConditionalGeneration, config, tokenizer)
    Qwen2_5_VLProcessor(images, tokenizer, videos, chat_template=QWEN).save_pretrained(folder)


def save_llava(folder: Path, size: Size = TINY) -> None:
    """LLaVA on Llama and CLIP, of random weights: ordinary positions, and a template without
    tools.
    """
    tokenizer = trained_tokenizer(["<pad>", "<s>", "</s>", "<image>"], size)
    vision = CLIPVisionConfig(
        hidden_size=size.vision_width,
        intermediate_size=2 * size.vision_width,
        num_hidden_layers=size.vision_layers,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        projection_dim=32,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**_text(size, tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    images = CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    _save(folder, LlavaForConditionalGeneration, config, tokenizer)
    LlavaProcessor(
        images,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=PLAIN,
    ).save_pretrained(folder)


def save_gemma3(folder: Path, size: Size = TINY) -> None:
    """Gemma 3 of random weights: layers with a sliding window, which forget."""
    marks = ["<pad>", "<bos>", "<eos>", "<image_soft_token>", "<start_of_image>", "<end_of_image>"]
    named = {"image_token": marks[3], "boi_token": marks[4], "eoi_token": marks[5]}
    tokenizer = trained_tokenizer(marks, size, named)
    text = _text(size, tokenizer) | {"head_dim": size.width // size.heads, "sliding_window": 16}
    config = Gemma3Config(
        text_config=text,
        vision_config={
            "hidden_size": size.vision_width,
            "intermediate_size": 2 * size.vision_width,
            "num_hidden_layers": size.vision_layers,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
        },
        mm_tokens_per_image=4,
        image_token_id=tokenizer.convert_tokens_to_ids(marks[3]),
        boi_token_id=tokenizer.convert_tokens_to_ids(marks[4]),
        eoi_token_id=tokenizer.convert_tokens_to_ids(marks[5]),
    )
    images = Gemma3ImageProcessor(size={"height": 56, "width": 56})
    _save(folder, Gemma3ForConditionalGeneration, config, tokenizer)
    Gemma3Processor(
        images,
        tokenizer,
        image_seq_length=4,
        chat_template=PLAIN.replace("<image>", "<start_of_image>"),
    ).save_pretrained(folder)


def _text(size: Size, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": size.width,
        "intermediate_size": 3 * size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads // 2,
        "max_position_embeddings": size.context_tokens,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.2,  # wide, so that what is read makes a difference to what is said
    }


def _sections(head: int) -> list[int]:
    """How the halves of a head are shared by time, rows and columns."""
    half = head // 2
    side = half // 3 if half >= 3 else 1
    return [half - 2 * side, side, side]


def _mark_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    of = tokenizer.convert_tokens_to_ids
    return {
        "image_token_id": of("<|image_pad|>"),
        "video_token_id": of("<|video_pad|>"),
        "vision_start_token_id": of("<|vision_start|>"),
        "vision_end_token_id": of("<|vision_end|>"),
    }


def _save(
    folder: Path,
    kind: Callable[..., torch.nn.Module],
    config: object,
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    torch.manual_seed(11)
    model: Any = kind(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
