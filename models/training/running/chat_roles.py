"""Whether a model's chat template can write an episode down, asked before anything is rendered."""

from __future__ import annotations

import jinja2
import numpy as np

from agent.errors import ChatFailed
from agent.language.chat import Conversation, Message, Picture
from models.errors import UnusableModel
from models.policies.chat.in_process.prompt_tokens import PromptTokens


def require_roles(tokens: PromptTokens, name: str) -> None:
    """UnusableModel for a chat template that refuses one of the roles, or leaves its words out."""
    picture = Picture(np.zeros((64, 64, 3), np.uint8))
    messages = (
        Message("system", ("first words",)),
        Message("user", (picture, "second words")),
        Message("assistant", ("third words",)),
        Message("user", (picture, "fourth words")),
    )
    try:
        text = tokens.prepare(Conversation(messages)).text
    except (ChatFailed, jinja2.TemplateError) as error:
        raise UnusableModel(
            name, f"its chat template cannot write an episode down ({error})"
        ) from error
    for message in messages:
        if message.text not in text:
            raise UnusableModel(
                name,
                f"its chat template leaves out what the {message.role} says: take the template "
                "that came with the model",
            )
