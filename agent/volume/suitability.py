"""Whether a policy was made for a target and an image, asked before anything is looked for."""

from __future__ import annotations

from agent.errors import UnknownTarget, UnsuitedImage
from agent.ports import Policy
from agent.values import Target


def require_suited(policy: Policy, target: Target, modality: str) -> str:
    """What has to be said of a policy's work on `target` in an image of `modality` (as in DICOM);
    "" if nothing.

    UnknownTarget for a structure that it cannot look for, UnsuitedImage for a modality that it was
    not made for. An image that does not tell its modality is taken for the first of them.
    """
    knowledge = policy.knowledge
    if not knowledge.knows(target):
        names = tuple(key.replace("_", " ") for key in knowledge.structures or ())
        raise UnknownTarget(target.text, policy.name, names)
    if knowledge.modalities is None or modality in knowledge.modalities:
        return ""
    if not knowledge.suits(modality):
        raise UnsuitedImage(policy.name, knowledge.modalities, modality)
    return f"the image does not tell its modality: it was taken for {knowledge.modalities[0]}"
