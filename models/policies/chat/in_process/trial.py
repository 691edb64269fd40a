"""Whether a model answers the same when it goes on from what it has read: tried, not believed."""

from __future__ import annotations

import logging

import numpy as np
import torch

from agent.errors import ChatFailed
from agent.language.chat import Conversation, Message, Picture
from models.policies.chat.in_process.generating import Asking, Generator
from models.policies.chat.in_process.loading import Loaded
from models.policies.chat.in_process.readers import CachedReader, PlainReader, Reader, remembers_all

_log = logging.getLogger(__name__)
_LEAST_ALIKE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.05}
_SIDE_PX = 96


def chosen_reader(loaded: Loaded, generator: Generator) -> Reader:
    """Going on from earlier turns where the model can, else reading each conversation whole."""
    whole = PlainReader(loaded, generator)
    if not remembers_all(loaded):
        _log.info("%s does not remember all it has read: each turn is read whole", loaded.name)
        return whole
    going_on = CachedReader(loaded, generator)
    try:
        apart = _apart(going_on, whole)
    # the code of some model family, asked in a way it may not know: whatever it raises, there is
    # the other way
    except (
        ArithmeticError,
        AttributeError,
        ChatFailed,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        _log.warning(
            "%s cannot go on from earlier turns: each is read whole (%s)", loaded.name, error
        )
        return whole
    finally:
        going_on.forget()
    if not apart <= _LEAST_ALIKE.get(loaded.model.dtype, 0.1):
        _log.warning(
            "%s answers differently (by %.3g) from earlier turns: each is read whole",
            loaded.name,
            apart,
        )
        return whole
    return going_on


def _apart(going_on: CachedReader, whole: PlainReader) -> float:
    """How far apart the two answers to a second turn are, relative to the largest logit."""
    asking = Asking(max_new_tokens=2)
    first = Conversation((_user("Where is it?", 0),))
    prompt = going_on.prepare(first)
    going_on.say([prompt, prompt], asking)  # two that begin alike: what they share is read ahead
    second = Conversation(
        (*first.messages, Message("assistant", ("There.",)), _user("And now?", 1))
    )
    cached, whole_read = (
        reader.say([reader.prepare(second)], asking)[0] for reader in (going_on, whole)
    )
    if cached.prompt_tokens != whole_read.prompt_tokens:
        raise ValueError(f"{cached.prompt_tokens} tokens were read, not {whole_read.prompt_tokens}")
    # a configuration may forbid some tokens
    finite = cached.logits.isfinite() & whole_read.logits.isfinite()
    cached_logits, whole_logits = cached.logits[finite], whole_read.logits[finite]
    # the largest difference over the largest logit: relative, since networks differ in their scale
    return float((cached_logits - whole_logits).abs().max() / whole_logits.abs().max())


def _user(words: str, shade: int) -> Message:
    ramp = np.linspace(0, 255, _SIDE_PX, dtype=np.uint8)
    pixels = np.broadcast_to(ramp[:, None, None], (_SIDE_PX, _SIDE_PX, 3)).copy()
    pixels[:, : 10 + 30 * shade] = 200
    return Message("user", (Picture(pixels), words))
