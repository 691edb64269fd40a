"""Which tokens of a conversation are learnt: those of the right replies, each behind exactly the
tokens that the model would be asked with.

    read     system, picture, words ... | wrong reply, picture, words ... |        picture, words |
    learnt                              |                                 | reply                 |

The prompt before each learnt reply is made by the code that serves (`PromptTokens`), not cut out of
the whole conversation. Where the prompt of a later turn begins with all that was read and replied
before, as chat templates mostly have it, one sequence holds both replies; where it does not (a
template that drops old thoughts), the later reply begins a sequence of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.language.chat import Conversation
from models.policies.chat.in_process.prompt_tokens import Prompt, PromptTokens


@dataclass(frozen=True, eq=False)
class LearntSequence:
    """`ids` (tokens,) int64, of which `learnt` (tokens,) bool are in the loss; it shows the first
    `pictures` of the conversation's.
    """

    ids: NDArray[np.int64]
    learnt: NDArray[np.bool_]
    pictures: int

    def __len__(self) -> int:
        return int(self.ids.size)


def learnt_sequences(
    tokens: PromptTokens,
    conversation: Conversation,
    learnt: Sequence[bool],
    ends: Collection[int],
) -> list[LearntSequence]:
    """The sequences that teach the messages marked in `learnt`, assistant's all; `ends` are the
    tokens that end a reply.

    ValueError where the chat template writes a reply otherwise than it asks for it, so that what is
    trained would not be what is served.
    """
    sequences: list[LearntSequence] = []
    for place, message in enumerate(conversation.messages):
        if not learnt[place]:
            continue
        prompt = tokens.prepare(Conversation(conversation.messages[:place]))
        answered = tokens.prepare(Conversation(conversation.messages[: place + 1]), answered=True)
        if message.text.strip() and tokens.plain(message.text).strip() not in answered.text:
            raise ValueError("the chat template changes what is replied")
        reply_ids = _reply_ids(tokens, prompt, answered, ends)
        before = sequences[-1] if sequences else None
        if before is not None and _begins(prompt, before.ids):
            sequences.pop()
        else:
            before = None
        sequences.append(_followed(before, prompt, reply_ids))
    return sequences


def _reply_ids(
    tokens: PromptTokens, prompt: Prompt, answered: Prompt, ends: Collection[int]
) -> NDArray[np.int64]:
    """What the model is to say after `prompt`: the reply and, where the template has one, the mark
    that ends it; not what the template puts after that.
    """
    if not answered.text.startswith(prompt.text):
        raise ValueError(
            "the chat template asks for a reply otherwise than it writes it down: the prompt is "
            "not the beginning of the conversation with the reply"
        )
    # a reply is said behind the prompt's last token; written down, its first may have run into that
    said_ids = answered.ids[prompt.ids.size :]
    if not _begins(answered, prompt.ids):
        said_ids = tokens.alone(answered.text[len(prompt.text) :])
    marks = np.flatnonzero(np.isin(said_ids, list(ends)))
    return said_ids[: int(marks[0]) + 1] if marks.size else said_ids


def _begins(prompt: Prompt, ids: NDArray[np.int64]) -> bool:
    return np.array_equal(prompt.ids[: ids.size], ids)


def _followed(
    before: LearntSequence | None, prompt: Prompt, reply_ids: NDArray[np.int64]
) -> LearntSequence:
    learnt = np.zeros(prompt.ids.size + reply_ids.size, np.bool_)
    if before is not None:
        learnt[: len(before)] = before.learnt
    learnt[prompt.ids.size :] = True
    return LearntSequence(np.concatenate([prompt.ids, reply_ids]), learnt, len(prompt.pictures))
