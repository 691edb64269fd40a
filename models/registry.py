"""Segmenters and policies by the names that configuration gives them; each is imported when asked
for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.language.chat import ChatModel
from agent.ports import Policy, Segmenter
from models.errors import LanguageMisconfigured, UnknownModel
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
    known_at,
    own_weights,
)
from models.weights.weights import State, Weights

TRANSFORMERS, OPENAI = "transformers", "openai"


@dataclass(frozen=True)
class SegmenterEntry:
    """A segmenter that can be asked for.

    `build` makes it of the site's resources and the file of its weights; `weights` are those it
    loads unless the site names others (None: it has none); `keeps` whether its encodings outlive
    the process; `packaged` whether it loads only the file that its package carries.
    """

    build: Callable[[Resources, Path], Segmenter]
    weights: Weights | None = None
    keeps: bool = False
    packaged: bool = False


@dataclass(frozen=True)
class PolicyEntry:
    """A policy that can be asked for, the `weights` it loads, whether those are the site's language
    model, whether it knows slices only as the abdomen's window shows them (else each structure is
    shown in its own), and whether it is `sparing`: asked about key slices and the whole, and not
    about each slice that a structure is carried to.

    A policy that reads the encodings of the segmenter `reads` is built with an encoder of its own
    by `apart` where another one draws.
    """

    build: Callable[[Resources], Policy]
    weights: Weights | None = None
    language: bool = False
    abdomen_only: bool = False
    sparing: bool = False
    reads: str = ""
    apart: Callable[[Resources], Policy] | None = None


def _litemedsam(resources: Resources, _: Path) -> Segmenter:
    from models.segmenters.litemedsam import LiteMedSam

    return LiteMedSam(cache_dir=resources.cache_dir, threads=resources.threads)


def _fake_segmenter(_: Resources, __: Path) -> Segmenter:
    from agent.fakes import FakeSegmenter

    return FakeSegmenter()


def _locator(_: Resources) -> Policy:
    from models.policies.locator.policy import LocatorPolicy

    return LocatorPolicy()


def _locator_apart(resources: Resources) -> Policy:
    from models.policies.locator.policy import LocatorPolicy
    from models.segmenters.litemedsam import LiteMedSam

    encoder = LiteMedSam(cache_dir=resources.cache_dir, threads=resources.threads)
    return LocatorPolicy(own_encoder=encoder.encode)


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
    from agent.language.settings import LanguageSettings

    said = resources.language
    settings = LanguageSettings(
        dialect=said.dialect,
        # only a server takes functions beside the text
        native_tools=said.native_tools and name == OPENAI,
        history=said.history,
        image_px=said.image_px,
        zoom=said.zoom,
        sheets=said.sheets,
        temperature=said.temperature,
        retry_temperature=said.retry_temperature,
        retries=said.retries,
        max_new_tokens=said.max_new_tokens,
        prompts=said.prompts,
    )
    return LanguagePolicy(chat, settings, name)


SEGMENTERS: Mapping[str, SegmenterEntry] = {
    "litemedsam": SegmenterEntry(_litemedsam, LITEMEDSAM, keeps=True, packaged=True),
    "medsam2": SegmenterEntry(_sam2("medsam2"), MEDSAM2_LATEST, keeps=True),
    "sam2-tiny": SegmenterEntry(_sam2("sam2-tiny"), SAM2_TINY, keeps=True),
    "sam2-small": SegmenterEntry(_sam2("sam2-small"), SAM2_SMALL, keeps=True),
    "sam2-base-plus": SegmenterEntry(_sam2("sam2-base-plus"), SAM2_BASE_PLUS, keeps=True),
    "sam2-large": SegmenterEntry(_sam2("sam2-large"), SAM2_LARGE, keeps=True),
    "sam-vit-b": SegmenterEntry(_sam("sam-vit-b"), SAM_VIT_B, keeps=True),
    "sam-vit-l": SegmenterEntry(_sam("sam-vit-l"), SAM_VIT_L, keeps=True),
    "sam-vit-h": SegmenterEntry(_sam("sam-vit-h"), SAM_VIT_H, keeps=True),
    "imisnet": SegmenterEntry(_imisnet, IMISNET_B, keeps=True),
    "fake": SegmenterEntry(_fake_segmenter),
}

POLICIES: Mapping[str, PolicyEntry] = {
    "locator": PolicyEntry(
        _locator, LOCATOR, abdomen_only=True, reads="litemedsam", apart=_locator_apart
    ),
    TRANSFORMERS: PolicyEntry(_transformers, language=True, sparing=True),
    OPENAI: PolicyEntry(_openai, sparing=True),
    "threshold": PolicyEntry(_threshold, abdomen_only=True),
}


def segmenter_entry(name: str) -> SegmenterEntry:
    """What is known of the segmenter `name`, nothing loaded; UnknownModel lists the names there
    are.
    """
    if name not in SEGMENTERS:
        raise UnknownModel("segmenter", name, tuple(SEGMENTERS))
    return SEGMENTERS[name]


def policy_entry(name: str) -> PolicyEntry:
    """What is known of the policy `name`, nothing loaded; UnknownModel lists the names there
    are.
    """
    if name not in POLICIES:
        raise UnknownModel("policy", name, tuple(POLICIES))
    return POLICIES[name]


def policy_weights(name: str, resources: Resources) -> Weights | None:
    """What the policy loads here, None where it loads nothing; UnknownModel,
    LanguageMisconfigured.
    """
    entry = policy_entry(name)
    if not entry.language:
        return entry.weights
    if not resources.language.model:
        raise LanguageMisconfigured("language.model", "name the folder that the model lies in")
    folder = Path(resources.language.model).expanduser()
    return own_weights(folder, f"policy {name}", "language.model", folder=True)


def segmenter_weights(name: str, resources: Resources) -> Weights | None:
    """What the segmenter loads here: the file that the site names, else the known one; None for
    none. UnknownModel.
    """
    entry, named = segmenter_entry(name), resources.checkpoint
    if entry.weights is None or entry.packaged or named is None:
        return entry.weights
    return known_at(named, resources.weights_dir) or own_weights(named, name, "agent.checkpoint")


def weights_of(*, policy: str, segmenter: str, resources: Resources) -> tuple[Weights, ...]:
    """The weights that this pair loads here, the policy's first; UnknownModel for a name that is
    not there.

    Between them those of an encoder that the policy brings along because it cannot read the
    segmenter's.
    """
    reads = policy_entry(policy).reads
    parts = (
        policy_weights(policy, resources),
        segmenter_weights(reads, resources) if reads not in ("", segmenter) else None,
        segmenter_weights(segmenter, resources),
    )
    return tuple(part for part in parts if part is not None)


def open_policy(name: str, resources: Resources, *, segmenter: str) -> Policy:
    """The policy `name` beside the segmenter that draws; UnknownModel, WeightsMissing,
    WeightsChanged.
    """
    entry = policy_entry(name)
    build = entry.build if entry.apart is None or entry.reads == segmenter else entry.apart
    return build(resources)


def open_segmenter(name: str, resources: Resources) -> Segmenter:
    """The segmenter `name` with its weights, after they were verified; UnknownModel,
    WeightsMissing, WeightsChanged.
    """
    entry, weights = segmenter_entry(name), segmenter_weights(name, resources)
    path = Path() if weights is None else weights.verified_path(resources.weights_dir)
    return entry.build(resources, path)


def require_here(*, policy: str, segmenter: str, resources: Resources) -> None:
    """Raise UnknownModel, WeightsMissing or LanguageMisconfigured for a pair that cannot be opened
    here; loads nothing.
    """
    language = resources.language
    if policy == OPENAI and not (language.endpoints and language.model):
        raise LanguageMisconfigured("language.endpoints", "name a server, and language.model")
    for part in weights_of(policy=policy, segmenter=segmenter, resources=resources):
        if part.state(resources.weights_dir) is State.MISSING:
            part.verify(resources.weights_dir)
