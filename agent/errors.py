"""What can go wrong in the agent.

AgentError
├── UnknownTarget      the policy does not know the structure; `known` says what it does
├── SegmenterFailed    the segmenter could not answer at all
├── ChatFailed         the language model could not be asked, or gave no answer
├── NoAnswer           the language model answered, and never with something that means anything
├── BadPrompts         a site's own prompt file cannot be used
└── BadTrace           a trace file of an unknown version or shape
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.ports import Reply


class AgentError(Exception):
    """Root of the agent's errors."""


class UnknownTarget(AgentError):
    """The policy does not know a target. `text` as asked, `policy` its name, `known` what it can
    do.
    """

    def __init__(self, text: str, policy: str, known: tuple[str, ...]) -> None:
        self.text, self.policy, self.known = text, policy, known
        super().__init__(
            f"this policy ({policy}) does not know '{text}'. It knows: {', '.join(known)}. "
            "For other targets configure a language model as agent.policy."
        )


class SegmenterFailed(AgentError):
    """The segmenter raised or answered with something that is no mask of the slice."""


class ChatFailed(AgentError):
    """The language model could not be asked or gave no answer; the sentence says what to do."""


class NoAnswer(AgentError):
    """Nothing a language model said to a question about the whole volume could be read, in all its
    tries.

    `replies` are what it said, for the record.
    """

    def __init__(self, sentence: str, replies: tuple[Reply, ...] = ()) -> None:
        self.replies = replies
        super().__init__(sentence)


class BadPrompts(AgentError):
    """A folder of prompts of the site's own holds a file that cannot be used."""


class BadTrace(AgentError):
    """A trace that this version cannot read."""
