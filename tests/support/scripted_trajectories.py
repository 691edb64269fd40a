"""A folder of trajectories without a simulated reader: toy cases, a script of actions, and the very
conversations that the serving policy asks its model with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from agent.actions import Absent, Action, AddBox, AddPoint, Stop
from agent.case import Case, Truth
from agent.episode.loop import run_episode
from agent.fakes import ArraySlices, FakeSegmenter
from agent.language.chat import Conversation, Picture
from agent.language.fakes import ScriptedChat
from agent.language.policy import LanguagePolicy
from agent.language.settings import LanguageSettings
from agent.language.views import view_of
from agent.limits import Limits
from agent.protocol.dialects import Dialect, render_reply
from agent.training.slice_tasks import SliceTask
from agent.values import Box, Point
from tests.support.toy_cases import toy_cases

Script = Callable[[Truth], Sequence[tuple[Action, bool]]]
"""The actions on a case's truth, each with whether it is learnt."""

THOUGHT = {Dialect.TOOL_CALL: "", Dialect.THINK_ACTION: "I see it."}


def box_and_stop(truth: Truth) -> list[tuple[Action, bool]]:
    """The tight box, then the end; "absent" where the structure is."""
    if truth.absent:
        return [(Absent("not seen"), True)]
    return [(AddBox(Box.around(truth.voxels[0])), True), (Stop(), True)]


def corrected(truth: Truth) -> list[tuple[Action, bool]]:
    """A wrong click in the corner, which is not learnt, before the box and the end."""
    if truth.absent:
        return box_and_stop(truth)
    return [(AddPoint(Point(2.0, 2.0, positive=True)), False), *box_and_stop(truth)]


def five_pictures(truth: Truth) -> list[tuple[Action, bool]]:
    """Box, three clicks within it, of which the second is wrong, and the end."""
    box = Box.around(truth.voxels[0])
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    clicks = [
        (AddPoint(Point(x, y, positive=True)), True),
        (AddPoint(Point(3.0, 60.0, positive=True)), False),
        (AddPoint(Point(3.0, 60.0, positive=False)), True),
    ]
    return [(AddBox(box), True), *clicks, (Stop(), True)]


def box_and_click(truth: Truth) -> list[tuple[Action, bool]]:
    """A box about the upper part, then a click in what it leaves out: both turns of a slice that
    is reached from a neighbour.
    """
    box = Box.around(truth.voxels[0])
    upper = Box(box.x0, box.y0, box.x1, (box.y0 + box.y1) / 2)
    return [
        (AddBox(upper), True),
        (AddPoint(Point((box.x0 + box.x1) / 2, box.y1 - 3, positive=True)), True),
    ]


@dataclass(frozen=True, eq=False)
class ScriptedEpisode:
    """What the serving policy asked in each turn, the replies, and which of them are learnt."""

    asked: tuple[Conversation, ...]
    replies: tuple[str, ...]
    learnt: tuple[bool, ...]


def scripted_episode(
    case: Case,
    truth: Truth,
    script: Script,
    dialect: Dialect,
    *,
    image_px: int = 64,
    task: SliceTask | None = None,
) -> ScriptedEpisode:
    """Run the script through the agent's loop and the language policy, on the first slice or as
    `task` says; the script is given the truth of that slice.
    """
    task = task or SliceTask(0, truth.voxels[0])
    settings = LanguageSettings(dialect=dialect, image_px=image_px)
    segmenter = FakeSegmenter()
    slices = ArraySlices(case.volume.intensities, segmenter)
    start = task.start(truth.target, slices)
    view = view_of(start, settings)
    actions = script(Truth(truth.target, task.truth[None]))
    replies = [render_reply(action, view, dialect, THOUGHT[dialect]) for action, _ in actions]
    chat = ScriptedChat(replies)
    policy = LanguagePolicy(chat, settings)
    for _ in run_episode(start, policy, segmenter, Limits(max_turns=5)):
        pass
    asked = tuple(chat.conversations)
    assert len(asked) == len(actions), "the script did not run to its end"
    return ScriptedEpisode(asked, tuple(replies), tuple(learnt for _, learnt in actions))


def trajectory_row(
    episode: ScriptedEpisode, folder: Path, case: Case, truth: Truth
) -> dict[str, Any]:
    """The episode as a line of the trajectories' file, its pictures written below `folder`."""
    messages: list[dict[str, Any]] = []
    images: list[str] = []
    flags = iter(episode.learnt)
    for message in episode.asked[-1].messages:
        content = []
        for part in message.parts:
            if isinstance(part, Picture):
                images.append(_write_picture(part, folder))
                content.append({"type": "image"})
            else:
                content.append({"type": "text", "text": part})
        train = message.role == "assistant" and next(flags)
        messages.append({"role": message.role, "train": train, "content": content})
    last = {"type": "text", "text": episode.replies[-1]}
    messages.append({"role": "assistant", "train": next(flags), "content": [last]})
    return {
        "version": 1,
        "trajectory_id": f"{case.case_id}-{truth.target.text}".replace(" ", "-"),
        "case_id": case.case_id,
        "patient": case.patient,
        "dataset": case.dataset,
        "split": case.split,
        "target": {"text": truth.target.text, "structure": truth.target.structure},
        "messages": messages,
        "images": images,
    }


def write_trajectories(
    folder: Path,
    *,
    cases: int = 8,
    script: Script = box_and_stop,
    dialect: Dialect = Dialect.TOOL_CALL,
    image_px: int = 64,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """A whole folder: one trajectory for each structure of each case. Gives its rows."""
    (folder / "images").mkdir(parents=True)
    rows = [
        trajectory_row(
            scripted_episode(case, truth, script, dialect, image_px=image_px), folder, case, truth
        )
        for case in toy_cases(cases, seed=seed)
        for truth in case.truths
    ]
    write_rows(folder, rows)
    (folder / "manifest.json").write_text(json.dumps({"version": 1, "trajectories": len(rows)}))
    return rows


def words_of(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Every different text of the rows, for a tokenizer that shall know their words."""
    parts = [part for row in rows for message in row["messages"] for part in message["content"]]
    return tuple(sorted({part["text"] for part in parts if part["type"] == "text"}))


def write_rows(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows as the folder's only file of trajectories."""
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (folder / "trajectories-00000-of-00001.jsonl").write_text(lines)


def _write_picture(picture: Picture, folder: Path) -> str:
    partial = folder / "images" / "partial.png"
    Image.fromarray(np.asarray(picture.pixels)).save(partial)
    name = f"images/{hashlib.sha256(partial.read_bytes()).hexdigest()}.png"
    partial.replace(folder / name)
    return name
