"""A record is the conversation, whole, with what is to be learnt of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agent.language.chat import Picture
from agent.trace import turn_from_record
from agent.training.trajectory import Trajectory
from models.training.exports.records import picture_name, trajectory_record, truth_picture
from tests.support.toy_cases import toy_cases
from tests.support.training.toy_trajectories import toy_run, write_toy_folder

KEYS = {
    *("version", "trajectory_id", "case_id", "patient", "dataset", "split", "modality", "target"),
    *("slice", "kind", "dialect", "segmenter", "seed", "ious", "final_iou", "turns", "messages"),
    *("images", "truth"),
}


@pytest.fixture(scope="module")
def trajectories() -> list[Trajectory]:
    run = toy_run(per_case=2)
    made = [
        one for depth in (1, 7) for case in toy_cases(4, depth=depth) for one in run._made(case)
    ]
    return [one for one in made if isinstance(one, Trajectory)]


def test_a_record_has_the_fields_of_the_format_and_is_plain_json(
    trajectories: list[Trajectory],
) -> None:
    for one in trajectories:
        record = trajectory_record(one, toy_run().maker)
        assert set(record) == KEYS
        assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_messages_are_the_conversation_and_images_its_pictures(
    trajectories: list[Trajectory],
) -> None:
    for one in trajectories:
        record = trajectory_record(one, toy_run().maker)
        names = iter(record["images"])
        for message, written in zip(one.conversation.messages, record["messages"], strict=True):
            assert message.role == written["role"]
            for part, written_part in zip(message.parts, written["content"], strict=True):
                if isinstance(part, Picture):
                    assert written_part == {"type": "image"}
                    assert next(names) == f"images/{part.digest}.png" == picture_name(part)
                else:
                    assert written_part == {"type": "text", "text": part}
        assert next(names, None) is None


def test_only_right_replies_are_to_be_learnt(trajectories: list[Trajectory]) -> None:
    wrong = 0
    for one in trajectories:
        record = trajectory_record(one, toy_run().maker)
        flags = [m["train"] for m in record["messages"] if m["role"] == "assistant"]
        assert flags == list(one.learnt)
        assert not any(m["train"] for m in record["messages"] if m["role"] != "assistant")
        wrong += flags.count(False)
    assert wrong > 2


def test_turns_are_those_of_a_trace(trajectories: list[Trajectory]) -> None:
    for one in trajectories:
        record = trajectory_record(one, toy_run().maker)
        assert [turn_from_record(turn) for turn in record["turns"]] == list(one.turns)


def test_a_question_about_a_volume_has_no_truth_picture(trajectories: list[Trajectory]) -> None:
    for one in trajectories:
        assert (truth_picture(one) is None) == (one.kind == "volume")


def test_files_hold_exactly_the_pixels_that_were_shown(tmp_path: Path) -> None:
    write_toy_folder(tmp_path, cases=toy_cases(2))

    for path in tmp_path.glob("images/*.png"):
        with Image.open(path) as image:
            assert Picture(np.asarray(image)).digest == path.stem
