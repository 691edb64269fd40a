"""The token ids of three episodes, kept: what serving asks, what SFT learns and what a rollout is
made of have to agree with them, for both dialects and both families of models.

Written anew, after a change of prompts that is meant, by

    python -m tests.support.token_golden
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agent.language.chat import Conversation, Message
from agent.protocol.dialects import Dialect
from agent.training.slice_tasks import carried_to
from tests.support.scripted_trajectories import (
    ScriptedEpisode,
    box_and_click,
    box_and_stop,
    five_pictures,
    scripted_episode,
)
from tests.support.toy_cases import toy_cases

if TYPE_CHECKING:
    from models.policies.chat.in_process.loading import Loaded
    from tests.support.chat_folders import Size

FAMILIES = ("qwen3_vl", "qwen2_5_vl")
EPISODES = ("one picture", "five pictures", "carried")
GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True)
class GoldenTokens:
    """The `ids` of a whole episode with its replies, and [start, end) of what is learnt in them."""

    ids: list[int]
    learnt: list[list[int]]


def golden_episode(name: str, dialect: Dialect) -> ScriptedEpisode:
    """The episode of that name in EPISODES."""
    cases = toy_cases(2)
    if name == "one picture":
        absent = next(truth for truth in cases[1].truths if truth.absent)
        return scripted_episode(cases[1], absent, box_and_stop, dialect)
    if name == "carried":
        volume = toy_cases(1, depth=9)[0]
        truth = volume.truths[0]
        task = carried_to(truth.voxels, 5, 1, truth.voxels[4])
        return scripted_episode(volume, truth, box_and_click, dialect, task=task)
    return scripted_episode(cases[0], cases[0].truths[0], five_pictures, dialect)


def golden_tokens(family: str, dialect: Dialect, name: str) -> GoldenTokens:
    """What is kept of that episode."""
    return GoldenTokens(**json.loads(_file(family, dialect).read_text("ascii"))[name])


@cache
def planner_size() -> Size:
    """A tiny model whose tokenizer has learnt the prompts, so that they are some hundred tokens."""
    from tests.support.chat_folders import Size

    learnt_names = EPISODES[:2]  # a third would change the ids of both
    episodes = [golden_episode(name, dialect) for name in learnt_names for dialect in Dialect]
    words = {
        message.text
        for episode in episodes
        for conversation in episode.asked
        for message in conversation.messages
    }
    words |= {reply for episode in episodes for reply in episode.replies}
    return Size(vocabulary=1500, sentences=tuple(sorted(words)))


def loaded_planner(folder: Path) -> Loaded:
    """The model in a folder as serving loads it."""
    from models.policies.chat.in_process.loading import load_chat_model
    from models.runtime.resources import LanguageOptions, Resources

    options = LanguageOptions(model=str(folder))
    return load_chat_model(Resources(device="cpu", language=options))


def whole_conversation(episode: ScriptedEpisode) -> tuple[Conversation, list[bool]]:
    """The episode with its last reply, and for each message whether it is learnt."""
    last = Message("assistant", (episode.replies[-1],))
    messages = (*episode.asked[-1].messages, last)
    flags = iter(episode.learnt)
    learnt = [message.role == "assistant" and next(flags) for message in messages]
    return Conversation(messages), learnt


def spans_of(learnt: NDArray[np.bool_]) -> list[list[int]]:
    """[start, end) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], learnt, [False]]).astype(int)))
    return edges.reshape(-1, 2).tolist()


def _file(family: str, dialect: Dialect) -> Path:
    return GOLDEN / f"tokens-{family}-{dialect}.json"


def _write(family: str, folder: Path) -> None:
    from models.training.learnt_tokens import learnt_sequences
    from models.training.planner_tokens import planner_tokens
    from tests.support import chat_folders

    getattr(chat_folders, f"save_{family}")(folder, planner_size())
    planner = planner_tokens(loaded_planner(folder))
    for dialect in Dialect:
        kept: dict[str, Any] = {}
        for name in EPISODES:
            conversation, learnt = whole_conversation(golden_episode(name, dialect))
            (sequence,) = learnt_sequences(planner.tokens, conversation, learnt, planner.ends)
            kept[name] = {"ids": sequence.ids.tolist(), "learnt": spans_of(sequence.learnt)}
        _file(family, dialect).write_text(json.dumps(kept) + "\n", "ascii")


if __name__ == "__main__":
    for each in FAMILIES:
        with TemporaryDirectory() as made:
            _write(each, Path(made) / each)
    sys.exit(0)
