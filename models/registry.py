"""Segmenters and policies by the names that configuration gives them: those that come with Segnode
(models.shipped) and those of plug-ins (models.plugins). Each is imported when it is opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from agent.ports import Policy, Segmenter, VolumePrompter, VolumeSegmenter
from models.entries import PolicyEntry, SegmenterEntry
from models.errors import LanguageMisconfigured, UnknownModel, UnusableModel
from models.pair import AUTO
from models.plugins import Plugin, policy_points, read_plugins, segmenter_points
from models.runtime.resources import Resources
from models.shipped import POLICIES, SEGMENTERS
from models.weights.manifest import MANIFEST, known_at, known_weights, own_weights
from models.weights.weights import State, Weights

Entry = TypeVar("Entry", SegmenterEntry, PolicyEntry)


@cache
def segmenter_plugins() -> tuple[Plugin[SegmenterEntry], ...]:
    """The segmenters of other distributions, broken ones among them; read once a process."""
    return read_plugins("segmenter", SegmenterEntry, (AUTO, *SEGMENTERS), segmenter_points)


@cache
def policy_plugins() -> tuple[Plugin[PolicyEntry], ...]:
    """The policies of other distributions, broken ones among them; read once a process."""
    return read_plugins("policy", PolicyEntry, (AUTO, *POLICIES), policy_points)


def all_plugins() -> tuple[Plugin[SegmenterEntry] | Plugin[PolicyEntry], ...]:
    """What other distributions bring, broken ones among them: segmenters, then policies."""
    return (*segmenter_plugins(), *policy_plugins())


def segmenter_entry(name: str) -> SegmenterEntry:
    """What is known of the segmenter `name`, nothing loaded.

    UnknownModel lists the names there are; BrokenPlugin for a plug-in that cannot be used.
    """
    return SEGMENTERS.get(name) or _of_plugin("segmenter", name, SEGMENTERS, segmenter_plugins())


def policy_entry(name: str) -> PolicyEntry:
    """What is known of the policy `name`, nothing loaded.

    UnknownModel lists the names there are; BrokenPlugin for a plug-in that cannot be used.
    """
    return POLICIES.get(name) or _of_plugin("policy", name, POLICIES, policy_plugins())


def _of_plugin(
    kind: str, name: str, shipped: Mapping[str, Entry], plugins: Sequence[Plugin[Entry]]
) -> Entry:
    for plugin in plugins:
        if plugin.name == name and plugin.usable() and plugin.entry is not None:
            return plugin.entry
    raise UnknownModel(kind, name, (*shipped, *[plugin.name for plugin in plugins if plugin.entry]))


def all_segmenters() -> Mapping[str, SegmenterEntry]:
    """Every segmenter that can be asked for, Segnode's own first."""
    plugins = {plugin.name: plugin.entry for plugin in segmenter_plugins() if plugin.entry}
    return {**SEGMENTERS, **plugins}


def all_policies() -> Mapping[str, PolicyEntry]:
    """Every policy that can be asked for, Segnode's own first."""
    plugins = {plugin.name: plugin.entry for plugin in policy_plugins() if plugin.entry}
    return {**POLICIES, **plugins}


def all_weights() -> tuple[Weights, ...]:
    """Every file of weights that is known: the manifest's, then those of plug-ins."""
    of_segmenters = (entry.weights for entry in all_segmenters().values())
    of_policies = (entry.weights for entry in all_policies().values())
    named = (weights for weights in (*of_segmenters, *of_policies) if weights is not None)
    return tuple(dict.fromkeys((*MANIFEST, *named)))


def find_weights(name: str) -> Weights:
    """As models.weights.manifest.known_weights, among those of plug-ins too."""
    return known_weights(name, all_weights())


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
    """The segmenter `name` with its weights, after they were verified.

    UnknownModel, WeightsMissing, WeightsChanged; UnusableModel where what was built is not what its
    entry says.
    """
    entry, weights = segmenter_entry(name), segmenter_weights(name, resources)
    path = Path() if weights is None else weights.verified_path(resources.weights_dir)
    segmenter = entry.build(resources, path)
    extra_prompts = segmenter.supported_prompts - entry.prompts
    if extra_prompts:
        kinds = ", ".join(sorted(extra_prompts))
        raise UnusableModel(name, f"it takes prompts that its entry does not name ({kinds})")
    for field, port in (("follows", VolumeSegmenter), ("draws_volumes", VolumePrompter)):
        if isinstance(segmenter, port) is not getattr(entry, field):
            raise UnusableModel(name, f"its entry says {field} = {getattr(entry, field)}")
    return segmenter


def require_here(*, policy: str, segmenter: str, resources: Resources) -> None:
    """Raise UnknownModel, WeightsMissing or LanguageMisconfigured for a pair that cannot be opened
    here; loads nothing.
    """
    policy_entry(policy).require(resources)
    for part in weights_of(policy=policy, segmenter=segmenter, resources=resources):
        if part.state(resources.weights_dir) is State.MISSING:
            part.verify(resources.weights_dir)
