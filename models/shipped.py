"""The segmenters and policies that come with Segnode, an entry each; a model is imported when it is
built.

The memory that each segmenter needs was measured as the growth of a process (float32, random
weights, one prompt and eight, torch 2.13 and ONNX Runtime on a CPU) and rounded up by a half.
Encoder and prompt in MB: Hiera-tiny at 512 px 143 and 11, at 1024 px 570 and 48, Hiera-large 932
and 48; ViT-B at 1024 px 2505 and 30, ViT-L 3981 and 8, ViT-H 2065 (torch runs it) and 4. A followed
object, which holds one slice's attention to seven others, takes 190 MB at 1024 px.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from agent.errors import BadPrompts
from agent.fakes import PHANTOM_BANDS
from agent.knowledge import ANYTHING, Knowledge
from agent.language.chat import ChatModel
from agent.language.templates import load_prompts
from agent.ports import Policy, Segmenter
from agent.values import PromptKind
from models.entries import NEVER, Needs, PolicyEntry, SegmenterEntry
from models.errors import LanguageMisconfigured
from models.policies.locator.structures import KNOWLEDGE
from models.runtime.resources import Resources
from models.weights.manifest import (
    IMISNET_B,
    LITEMEDSAM,
    LOCATOR,
    MEDSAM2_LATEST,
    SAM2_BASE_PLUS,
    SAM2_LARGE,
    SAM2_SMALL,
    SAM2_TINY,
    SAM_VIT_B,
    SAM_VIT_H,
    SAM_VIT_L,
)
from models.weights.weights import Weights

TRANSFORMERS, OPENAI = "transformers", "openai"

_MB = 1 << 20

# Measured of LiteMedSAM, whichever runs it: 315 MB for an image; for a box 43 MB on slices to 1024
# by 1024 and 84 MB on 3000 by 4000.
SMALL = Needs(encode_bytes=320 * _MB, ask_bytes=88 * _MB)
HIERA_512 = Needs(encode_bytes=256 * _MB, ask_bytes=16 * _MB, object_bytes=192 * _MB)
HIERA_1024 = Needs(encode_bytes=1024 * _MB, ask_bytes=72 * _MB, object_bytes=320 * _MB)
HIERA_LARGE = Needs(encode_bytes=1536 * _MB, ask_bytes=72 * _MB, object_bytes=320 * _MB)
VIT_1024 = Needs(encode_bytes=4096 * _MB, ask_bytes=48 * _MB)
VIT_LARGE = Needs(encode_bytes=6144 * _MB, ask_bytes=48 * _MB)

BOX = frozenset({PromptKind.BOX})
DRAWN = frozenset({PromptKind.BOX, PromptKind.POINT, PromptKind.MASK})
EVERY = DRAWN | {PromptKind.TEXT}


def _litemedsam(resources: Resources, _: Path) -> Segmenter:
    from models.segmenters.litemedsam import LiteMedSam

    return LiteMedSam(
        cache_dir=resources.cache_dir, threads=resources.threads, precision=resources.precision
    )


def _fake_segmenter(_: Resources, __: Path) -> Segmenter:
    from agent.fakes import FakeSegmenter

    return FakeSegmenter()


def _fake_prompter(_: Resources, __: Path) -> Segmenter:
    from agent.fakes import FakeVolumePrompter

    return FakeVolumePrompter()


def _locator(resources: Resources) -> Policy:
    from models.policies.locator.policy import LocatorPolicy

    return LocatorPolicy(look_step_mm=resources.draw_step_mm)


def _locator_apart(resources: Resources) -> Policy:
    from models.policies.locator.policy import LocatorPolicy
    from models.segmenters.litemedsam import LiteMedSam

    encoder = LiteMedSam(cache_dir=resources.cache_dir, threads=resources.threads)
    return LocatorPolicy(own_encoder=encoder.encode, look_step_mm=resources.draw_step_mm)


def _threshold(_: Resources) -> Policy:
    from agent.fakes import ThresholdPolicy

    return ThresholdPolicy()


def _sam2(name: str) -> Callable[[Resources, Path], Segmenter]:
    def build(resources: Resources, checkpoint: Path) -> Segmenter:
        from models.segmenters.sam2 import architecture
        from models.segmenters.sam2.volume import Sam2VolumeSegmenter

        sizes = {
            "medsam2": architecture.MEDSAM2,
            "sam2-tiny": architecture.TINY,
            "sam2-small": architecture.SMALL,
            "sam2-base-plus": architecture.BASE_PLUS,
            "sam2-large": architecture.LARGE,
        }
        return Sam2VolumeSegmenter(name, checkpoint, sizes[name], resources=resources)

    return build


def _imisnet(resources: Resources, checkpoint: Path) -> Segmenter:
    from models.segmenters.imisnet.opening import open_imisnet

    return open_imisnet(checkpoint, resources)


def _sam(name: str) -> Callable[[Resources, Path], Segmenter]:
    def build(resources: Resources, checkpoint: Path) -> Segmenter:
        from models.segmenters.sam import architecture
        from models.segmenters.sam.segmenter import SamSegmenter

        sizes = {
            "sam-vit-b": architecture.VIT_B,
            "sam-vit-l": architecture.VIT_L,
            "sam-vit-h": architecture.VIT_H,
        }
        return SamSegmenter(name, checkpoint, sizes[name], resources=resources)

    return build


def _transformers(resources: Resources) -> Policy:
    from models.policies.chat.in_process.transformers_chat import transformers_chat

    return _language_policy(transformers_chat(resources), TRANSFORMERS, resources)


def _openai(resources: Resources) -> Policy:
    from models.policies.chat.openai.openai_chat import OpenAiChat

    return _language_policy(OpenAiChat(resources.language), OPENAI, resources)


def _language_policy(chat: ChatModel, name: str, resources: Resources) -> Policy:
    from agent.language.policy import LanguagePolicy

    options = resources.language
    # only a server takes functions beside the text
    offers_tools = options.native_tools and name == OPENAI
    return LanguagePolicy(chat, replace(options, native_tools=offers_tools), name)


def _openai_usable(resources: Resources) -> str:
    language = resources.language
    if not (language.endpoints and language.model):
        return ""
    return f"language.endpoints and model '{language.model}' are set"


def _openai_require(resources: Resources) -> None:
    if not _openai_usable(resources):
        raise LanguageMisconfigured("language.endpoints", "name a server, and language.model")
    from models.policies.chat.openai.openai_chat import require_usable

    require_usable(resources.language)
    _require_prompts(resources)


def _require_prompts(resources: Resources) -> None:
    options = resources.language
    try:
        load_prompts(options.dialect, options.prompts)
    except BadPrompts as error:
        raise LanguageMisconfigured("language.prompts", str(error)) from error


def _transformers_usable(resources: Resources) -> str:
    model = resources.language.model
    return f"{model} is there" if model and Path(model).expanduser().is_dir() else ""


def _sam2_entry(
    name: str, weights: Weights, needs: Needs = HIERA_1024, *, auto_rank: int = NEVER
) -> SegmenterEntry:
    """SAM 2.1 of any size: all of them take the same prompts and follow objects."""
    return SegmenterEntry(
        _sam2(name), DRAWN, needs, weights, follows=True, keeps=True, auto_rank=auto_rank
    )


def _sam_entry(name: str, weights: Weights, needs: Needs) -> SegmenterEntry:
    return SegmenterEntry(_sam(name), DRAWN, needs, weights, keeps=True)


SEGMENTERS: Mapping[str, SegmenterEntry] = {
    "litemedsam": SegmenterEntry(
        _litemedsam, BOX, SMALL, LITEMEDSAM, keeps=True, packaged=True, auto_rank=1
    ),
    "medsam2": _sam2_entry("medsam2", MEDSAM2_LATEST, HIERA_512, auto_rank=2),
    "sam2-tiny": _sam2_entry("sam2-tiny", SAM2_TINY),
    "sam2-small": _sam2_entry("sam2-small", SAM2_SMALL),
    "sam2-base-plus": _sam2_entry("sam2-base-plus", SAM2_BASE_PLUS),
    "sam2-large": _sam2_entry("sam2-large", SAM2_LARGE, HIERA_LARGE),
    "sam-vit-b": _sam_entry("sam-vit-b", SAM_VIT_B, VIT_1024),
    "sam-vit-l": _sam_entry("sam-vit-l", SAM_VIT_L, VIT_LARGE),
    "sam-vit-h": _sam_entry("sam-vit-h", SAM_VIT_H, VIT_LARGE),
    "imisnet": SegmenterEntry(_imisnet, EVERY, VIT_1024, IMISNET_B, keeps=True),
    "fake-volume-prompter": SegmenterEntry(
        _fake_prompter,
        frozenset(PromptKind) - {PromptKind.TEXT},
        Needs(encode_bytes=64 * _MB, ask_bytes=16 * _MB, object_bytes=256 * _MB),
        draws_volumes=True,
    ),
    "fake": SegmenterEntry(_fake_segmenter, frozenset({PromptKind.BOX, PromptKind.POINT}), SMALL),
}

POLICIES: Mapping[str, PolicyEntry] = {
    OPENAI: PolicyEntry(
        _openai,
        usable=_openai_usable,
        require=_openai_require,
        sparing=True,
        knowledge=ANYTHING,
    ),
    TRANSFORMERS: PolicyEntry(
        _transformers,
        language=True,
        usable=_transformers_usable,
        require=_require_prompts,
        sparing=True,
        knowledge=ANYTHING,
    ),
    "locator": PolicyEntry(
        _locator,
        LOCATOR,
        usable=lambda _: "[language] names no model that is there",
        abdomen_only=True,
        knowledge=KNOWLEDGE,
        reads="litemedsam",
        apart=_locator_apart,
    ),
    "threshold": PolicyEntry(
        _threshold, abdomen_only=True, knowledge=Knowledge(tuple(PHANTOM_BANDS))
    ),
}
"""In the order in which "auto" asks them."""
