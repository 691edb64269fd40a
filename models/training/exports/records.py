"""A trajectory as one JSON object of our file:

    {"version": 1, "trajectory_id", "case_id", "patient", "dataset", "split", "modality",
     "target": {"text", "structure"}, "slice", "kind", "dialect", "segmenter", "seed",
     "ious": [after each turn; null while there is no mask], "final_iou": null for a question about
     a volume, "turns": [as in trace.json],
     "messages": [{"role", "train", "content": [{"type": "image"} | {"type": "text", "text"}]}],
     "images": ["images/<SHA-256 of size and pixels>.png", …], "truth": "truths/….png" or null}

`train` is true on the assistant's messages that are to be learnt, and false on wrong actions and on
every other message. `images` stand in the order of their places in `messages`; `truth` is the
structure as it lies on the first of them, 0 and 255.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from agent.language.chat import Conversation, Message, Picture
from agent.trace import turn_record
from agent.training.trajectory import Trajectory, TrajectoryMaker

VERSION = 1


def picture_name(picture: Picture) -> str:
    """Where a picture lies in the folder; its name is the hash of its size and pixels."""
    return f"images/{picture.digest}.png"


def truth_picture(trajectory: Trajectory) -> Picture | None:
    """The truth as black and white, on the first picture's grid; None for a question about a
    volume.
    """
    if trajectory.shown_truth is None:
        return None
    grey = np.where(trajectory.shown_truth, 255, 0).astype(np.uint8)
    return Picture(np.repeat(grey[..., None], 3, axis=2))


def trajectory_record(trajectory: Trajectory, maker: TrajectoryMaker) -> dict[str, Any]:
    """A trajectory that `maker` made, as JSON values; its pictures by their names."""
    case, truth = trajectory.case, truth_picture(trajectory)
    pictures = trajectory.conversation.pictures
    return {
        "version": VERSION,
        "trajectory_id": trajectory.name,
        "case_id": case.case_id,
        "patient": case.patient,
        "dataset": case.dataset,
        "split": case.split,
        "modality": case.volume.modality,
        "target": {"text": trajectory.target.text, "structure": trajectory.target.structure},
        "slice": trajectory.slice_index,
        "kind": str(trajectory.kind),
        "dialect": str(maker.language.dialect),
        "segmenter": maker.segmenter.name,
        "seed": maker.seed,
        "ious": list(trajectory.ious),
        "final_iou": trajectory.final_iou,
        "turns": [turn_record(turn) for turn in trajectory.turns],
        "messages": _messages(trajectory.conversation, trajectory.learnt),
        "images": [picture_name(picture) for picture in pictures],
        "truth": None if truth is None else f"truths/{truth.digest}.png",
    }


def _messages(conversation: Conversation, learnt: tuple[bool, ...]) -> list[dict[str, Any]]:
    replies = iter(learnt)
    return [
        {
            "role": message.role,
            "train": message.role == "assistant" and next(replies),
            "content": _content(message),
        }
        for message in conversation.messages
    ]


def _content(message: Message) -> list[dict[str, str]]:
    return [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
        for part in message.parts
    ]
