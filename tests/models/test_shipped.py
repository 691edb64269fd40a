"""The entries that come with Segnode: each agrees with what it builds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.fakes import FakeSegmenter, FakeVolumePrompter, ThresholdPolicy
from agent.language.policy import LanguagePolicy
from agent.ports import Segmenter
from models.entries import SegmenterEntry
from models.errors import LanguageMisconfigured
from models.policies.locator.policy import LocatorPolicy
from models.registry import all_policies, all_segmenters
from models.runtime.resources import LanguageOptions, Resources
from models.segmenters.imisnet.segmenter import ImisNetSegmenter
from models.segmenters.litemedsam import LiteMedSam
from models.segmenters.sam.segmenter import SamSegmenter
from models.segmenters.sam2.volume import Sam2VolumeSegmenter
from models.shipped import POLICIES, SEGMENTERS, VIT_1024
from models.weights.manifest import LITEMEDSAM

CLASSES: dict[str, type[Segmenter]] = {
    "litemedsam": LiteMedSam,
    "medsam2": Sam2VolumeSegmenter,
    "sam2": Sam2VolumeSegmenter,
    "sam": SamSegmenter,
    "fake": FakeSegmenter,
    "fake-volume-prompter": FakeVolumePrompter,
}


@pytest.mark.parametrize("name", SEGMENTERS)
def test_an_entry_says_what_its_class_does(name: str) -> None:
    if name == "imisnet":  # text only where a tokenizer is: the instance says
        assert not SEGMENTERS[name].follows
        assert not hasattr(ImisNetSegmenter, "propagate")
        return
    entry, built = SEGMENTERS[name], CLASSES.get(name) or CLASSES.get(name.partition("-")[0])
    if built is None:
        pytest.skip("not listed here: opening it compares the two")

    assert entry.prompts == built.supported_prompts
    assert entry.follows is hasattr(built, "propagate")
    assert entry.draws_volumes is hasattr(built, "segment_volume")


@pytest.mark.parametrize("entry", SEGMENTERS.values(), ids=SEGMENTERS)
def test_every_segmenter_has_an_estimate(entry: SegmenterEntry) -> None:
    assert entry.needs.encode_bytes > entry.needs.ask_bytes > 0
    assert (entry.needs.object_bytes > 0) is (entry.follows or entry.draws_volumes)


def test_the_estimates_are_above_what_was_measured() -> None:
    assert SEGMENTERS["imisnet"].needs == SEGMENTERS["sam-vit-b"].needs == VIT_1024
    sizes = [SEGMENTERS[name].needs.encode_bytes for name in ("sam2-tiny", "sam2-large")]
    assert sizes[0] < sizes[1]
    # of LiteMedSAM through ONNX Runtime, a box on an image of 3000 by 4000 pixels
    small = SEGMENTERS["litemedsam"].needs
    assert (small.encode_bytes, small.ask_bytes) > (315 << 20, 84 << 20)
    assert small.ask_bytes > 84 << 20
    # the largest ViT takes at least what was measured of the base one
    vits = [entry.needs for name, entry in SEGMENTERS.items() if "vit" in name]
    assert all(needs.encode_bytes > 2505 << 20 for needs in vits)


def test_litemedsam_is_built_with_its_resources(litemedsam: LiteMedSam) -> None:
    entry = SEGMENTERS["litemedsam"]

    built = entry.build(Resources(cache_dir=litemedsam.cache_dir), LITEMEDSAM.locate())

    assert built.name == "litemedsam"
    assert entry.keeps


@pytest.mark.parametrize(
    ("name", "built"),
    [
        ("locator", LocatorPolicy),
        ("transformers", LanguagePolicy),
        ("openai", LanguagePolicy),
        ("threshold", ThresholdPolicy()),
    ],
)
def test_a_policy_knows_what_its_entry_says(name: str, built: Any) -> None:
    assert POLICIES[name].knowledge == built.knowledge


@pytest.mark.parametrize("name", ["openai", "transformers"])
def test_prompts_that_cannot_be_read_are_told_before_a_model_is_loaded(
    name: str, tmp_path: Path
) -> None:
    language = LanguageOptions(
        model="m",
        endpoints=("http://host/v1",),
        allowed_hosts=("host",),
        prompts=tmp_path / "nowhere",
    )

    with pytest.raises(LanguageMisconfigured, match=r"language\.prompts: there is no folder"):
        POLICIES[name].require(Resources(language=language))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"allowed_hosts": ()}, "language.allowed_hosts"),
        ({"api_key_file": Path("/nowhere/key")}, "language.api_key_file: cannot read"),
    ],
)
def test_a_server_that_cannot_be_asked_is_told_before_it_is(
    options: dict[str, Any], said: str
) -> None:
    language = LanguageOptions(model="m", endpoints=("http://host/v1",), allowed_hosts=("host",))

    POLICIES["openai"].require(Resources(language=language))
    with pytest.raises(LanguageMisconfigured, match=said):
        POLICIES["openai"].require(Resources(language=replace(language, **options)))


def test_what_is_shipped_comes_first() -> None:
    assert list(all_segmenters())[: len(SEGMENTERS)] == list(SEGMENTERS)
    assert list(all_policies())[: len(POLICIES)] == list(POLICIES)
