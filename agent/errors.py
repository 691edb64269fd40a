"""The agent's errors.

AgentError
├── UnknownTarget      the policy does not know the structure; `supported` lists those it knows
├── UnsuitedImage      the policy was not made for images of this modality
├── SegmenterFailed    the segmenter could not answer at all
├── ChatFailed         the language model could not be asked, or gave no answer
├── NoAnswer           no answer of the language model could be parsed
├── BadPrompts         a site's own prompt file cannot be used
├── ReplayDiffers      recorded turns do not lead where the record says
└── BadTrace           a trace file of an unknown version or shape
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.ports import Reply


class AgentError(Exception):
    """Root of the agent's errors."""


class UnknownTarget(AgentError):
    """The `policy` of that name does not know the target `text`, only the `supported` ones."""

    def __init__(self, text: str, policy: str, supported: tuple[str, ...]) -> None:
        self.text, self.policy, self.supported = text, policy, supported
        super().__init__(
            f"this policy ({policy}) does not know '{text}'. It knows: {', '.join(supported)}. "
            "For other targets configure a language model as agent.policy."
        )


class UnsuitedImage(AgentError):
    """The `policy` of that name was made for other `modalities` than the image's `modality`."""

    def __init__(self, policy: str, modalities: tuple[str, ...], modality: str) -> None:
        self.policy, self.modalities, self.modality = policy, modalities, modality
        known = " and ".join(modalities)
        super().__init__(
            f"this policy ({policy}) was made for {known} alone, and this is {modality}: nothing "
            f"was looked for. If it is {known} after all, say so (--modality); for other images "
            "configure a language model as agent.policy."
        )


class SegmenterFailed(AgentError):
    """The segmenter failed, or its answer is no mask of the slice or volume."""


class ChatFailed(AgentError):
    """The language model could not be asked or gave no answer; the sentence says what to do."""


class NoAnswer(AgentError):
    """No reply of a language model to a question about the whole volume could be parsed.

    `replies` are all of them, for the record.
    """

    def __init__(self, sentence: str, replies: tuple[Reply, ...] = ()) -> None:
        self.replies = replies
        super().__init__(sentence)


class BadPrompts(AgentError):
    """A site's folder of prompts, or a file in it, cannot be used."""


class BadTrace(AgentError):
    """A trace that this version cannot read."""


class ReplayDiffers(AgentError):
    """Recorded turns do not lead where the record says; the sentence names the first such turn."""
