"""Segmenters and policies by the names that configuration gives them; each is imported when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent.ports import Policy, Segmenter
from models.errors import UnknownModel
from models.resources import Resources
from models.weights import LITEMEDSAM, LOCATOR, Weights


@dataclass(frozen=True)
class SegmenterEntry:
    """A segmenter that can be asked for. `weights` it loads; `keeps` whether its encodings outlive the process."""

    build: Callable[[Resources], Segmenter]
    weights: tuple[Weights, ...] = ()
    keeps: bool = False


@dataclass(frozen=True)
class PolicyEntry:
    """A policy that can be asked for, the `weights` it loads, and whether it knows slices only as the abdomen's
    window shows them (else each structure is shown in its own).
    """

    build: Callable[[Resources], Policy]
    weights: tuple[Weights, ...] = ()
    abdomen_only: bool = False


def _litemedsam(resources: Resources) -> Segmenter:
    from models.litemedsam import LiteMedSam

    return LiteMedSam(cache_dir=resources.cache_dir, threads=resources.threads)


def _fake_segmenter(_: Resources) -> Segmenter:
    from agent.fakes import FakeSegmenter

    return FakeSegmenter()


def _locator(_: Resources) -> Policy:
    from models.locator.policy import LocatorPolicy

    return LocatorPolicy()


def _threshold(_: Resources) -> Policy:
    from agent.fakes import ThresholdPolicy

    return ThresholdPolicy()


SEGMENTERS: Mapping[str, SegmenterEntry] = {
    "litemedsam": SegmenterEntry(_litemedsam, (LITEMEDSAM,), keeps=True),
    "fake": SegmenterEntry(_fake_segmenter),
}

POLICIES: Mapping[str, PolicyEntry] = {
    "locator": PolicyEntry(_locator, (LOCATOR,), abdomen_only=True),
    "threshold": PolicyEntry(_threshold, abdomen_only=True),
}


def segmenter_entry(name: str) -> SegmenterEntry:
    """What is known of the segmenter `name`, nothing loaded; UnknownModel lists the names there are."""
    if name not in SEGMENTERS:
        raise UnknownModel("segmenter", name, tuple(SEGMENTERS))
    return SEGMENTERS[name]


def policy_entry(name: str) -> PolicyEntry:
    """What is known of the policy `name`, nothing loaded; UnknownModel lists the names there are."""
    if name not in POLICIES:
        raise UnknownModel("policy", name, tuple(POLICIES))
    return POLICIES[name]


def weights_of(*, policy: str, segmenter: str) -> tuple[Weights, ...]:
    """The weights that this pair loads, the policy's first; UnknownModel for a name that is not there."""
    return policy_entry(policy).weights + segmenter_entry(segmenter).weights
