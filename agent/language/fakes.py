"""A chat model that answers from a script: for tests, and to try prompts without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from agent.errors import ChatFailed
from agent.language.chat import Answer, Conversation
from agent.turns import Usage

Script = Iterable[str | Answer | ChatFailed] | Callable[[Conversation], str | Answer]
"""The answers in order, or a function of the conversation; a ChatFailed in it is raised."""


class ScriptedChat:
    """Answers from a script; ChatFailed when it has ended.

    `conversations` keeps what was asked, `temperatures` at which, `batches` how many at once. Of a
    plain text each message and picture counts as an input token, each word as an output token.
    """

    name = "scripted-chat"

    def __init__(self, script: Script) -> None:
        self._function = script if callable(script) else None
        self._answers = iter(()) if callable(script) else iter(script)
        self.conversations: list[Conversation] = []
        self.temperatures: list[float] = []
        self.batches: list[int] = []

    def answer(
        self, conversations: Sequence[Conversation], *, temperature: float, max_new_tokens: int
    ) -> list[Answer]:
        """The script's next answers, cut to `max_new_tokens` words."""
        self.batches.append(len(conversations))
        return [self._answered(talk, temperature, max_new_tokens) for talk in conversations]

    def _answered(self, conversation: Conversation, temperature: float, most_words: int) -> Answer:
        self.conversations.append(conversation)
        self.temperatures.append(temperature)
        answer = self._function(conversation) if self._function else next(self._answers, None)
        if answer is None:
            raise ChatFailed("the script has ended")
        if isinstance(answer, ChatFailed):
            raise answer
        if isinstance(answer, Answer):
            return answer
        return self._with_usage(answer.split(" ")[:most_words], conversation)

    def _with_usage(self, words: Sequence[str], conversation: Conversation) -> Answer:
        input_tokens = len(conversation.messages) + len(conversation.pictures)
        return Answer(" ".join(words), usage=Usage(input_tokens, len(words), model=self.name))
