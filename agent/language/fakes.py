"""A chat model that says what it was told to: for tests, and for trying prompts without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from agent.errors import ChatFailed
from agent.language.chat import Answer, Conversation
from agent.turns import Usage

Script = Iterable[str | Answer | ChatFailed] | Callable[[Conversation], str | Answer]
"""What is answered, in order, or to what is said; a ChatFailed in it is raised."""


class ScriptedChat:
    """Answers from a script; ChatFailed when it has ended.

    Keeps every conversation it was given in `heard`, with its temperature in `temperatures`, and
    how many came at once in `batches`. Plain words cost one token in a picture or message and one
    out a word.
    """

    name = "scripted-chat"

    def __init__(self, script: Script) -> None:
        self._say = script if callable(script) else None
        self._answers = iter(()) if callable(script) else iter(script)
        self.heard: list[Conversation] = []
        self.temperatures: list[float] = []
        self.batches: list[int] = []

    def answer(
        self, conversations: Sequence[Conversation], *, temperature: float, max_new_tokens: int
    ) -> list[Answer]:
        """The script's next answers, cut to `max_new_tokens` words."""
        self.batches.append(len(conversations))
        return [self._one(one, temperature, max_new_tokens) for one in conversations]

    def _one(self, conversation: Conversation, temperature: float, most_words: int) -> Answer:
        self.heard.append(conversation)
        self.temperatures.append(temperature)
        said = self._say(conversation) if self._say else next(self._answers, None)
        if said is None:
            raise ChatFailed("the script has ended")
        if isinstance(said, ChatFailed):
            raise said
        return said if isinstance(said, Answer) else self._costed(said, conversation, most_words)

    def _costed(self, words: str, conversation: Conversation, most_words: int) -> Answer:
        spoken = words.split(" ")[:most_words]
        heard = len(conversation.messages) + len(conversation.pictures)
        return Answer(" ".join(spoken), usage=Usage(heard, len(spoken), model=self.name))
