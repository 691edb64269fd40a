"""Lines of an evaluation: durable, read again as they were, torn ones left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.values import TargetStatus
from models.errors import EvaluationFailed
from models.evaluation.metrics import Quality
from models.evaluation.records import (
    Clicks,
    PicturedSlice,
    Shard,
    TargetRecord,
    append,
    cut_torn_line,
    from_line,
    parts_missing,
    read_records,
    to_line,
    truth_digest,
)

MASK = np.eye(5, dtype=bool)
RECORD = TargetRecord(
    case_id="a-1",
    patient="p1",
    dataset="toy",
    split="test",
    modality="MR",
    depth=1,
    target="left kidney",
    structure="left_kidney",
    method="locator",
    present=True,
    truth_digest="00",
    status=TargetStatus.SEGMENTED,
    answered=True,
    quality=Quality(0.5, 0.4, None, 3.0, None, 0.1),
    confidence=0.7,
    by_turn=(0.4, 0.5),
    clicks=Clicks((0.1,), (0.2,), (0.3,), box=True),
    faults=("odd",),
    picture=PicturedSlice.of(3, MASK),
)


def test_a_line_is_read_as_it_was_written() -> None:
    line = to_line(RECORD)
    assert "\n" not in line
    assert from_line(line) == RECORD
    bare = replace(RECORD, quality=None, clicks=None, picture=None, confidence=None)
    assert from_line(to_line(bare)) == bare


def test_the_pictured_mask_comes_back() -> None:
    picture = from_line(to_line(RECORD)).picture
    assert picture is not None
    assert np.array_equal(picture.mask(), MASK)
    with pytest.raises(ValueError, match="not those it drew"):
        replace(picture, digest="0" * 32).mask()


def test_a_figure_that_is_no_number_is_never_written() -> None:
    with pytest.raises(ValueError):
        to_line(replace(RECORD, confidence=float("nan")))


def test_a_torn_line_is_left_out_and_cut_before_going_on(tmp_path: Path) -> None:
    file = Shard().file(tmp_path)
    append(file, [RECORD])
    with file.open("a") as stream:
        stream.write(to_line(replace(RECORD, method="other"))[:-7])
    assert read_records(tmp_path) == [RECORD]

    cut_torn_line(file)
    append(file, [replace(RECORD, method="third")])
    assert [record.method for record in read_records(tmp_path)] == ["locator", "third"]


def test_nothing_is_cut_from_a_whole_file(tmp_path: Path) -> None:
    file = Shard().file(tmp_path)
    cut_torn_line(file)  # there is none yet
    append(file, [RECORD])
    before = file.read_bytes()
    cut_torn_line(file)
    assert file.read_bytes() == before


def test_the_parts_of_a_run_are_read_together(tmp_path: Path) -> None:
    append(Shard(1, 2).file(tmp_path), [RECORD])
    append(Shard(2, 2).file(tmp_path), [replace(RECORD, case_id="a-2")])
    assert [record.case_id for record in read_records(tmp_path)] == ["a-1", "a-2"]
    assert parts_missing(tmp_path) == ["1 of 2", "2 of 2"]
    Shard(2, 2).end_file(tmp_path).write_text("{}")
    assert parts_missing(tmp_path) == ["1 of 2"]


@pytest.mark.parametrize("line", ["{}", "no JSON", '{"version": 99}', '{"version": 1}'])
def test_a_line_of_another_kind_is_named(tmp_path: Path, line: str) -> None:
    Shard().file(tmp_path).write_text(f"{to_line(RECORD)}\n{line}\n")
    with pytest.raises(EvaluationFailed, match=r"targets-00001-of-00001.jsonl, line 2"):
        read_records(tmp_path)


def test_every_second_case_is_in_one_of_two_parts() -> None:
    assert [index for index in range(5) if Shard(2, 2).holds(index)] == [1, 3]
    assert all(Shard().holds(index) for index in range(3))
    with pytest.raises(ValueError, match="part 3 of 2"):
        Shard(3, 2)


def test_a_failure_is_a_wrong_answer_whatever_the_truth() -> None:
    failed = replace(RECORD, status=TargetStatus.FAILED, answered=False)
    assert failed.failed
    assert not failed.answered_present
    assert replace(failed, present=False).answered_present
    # an open question is no answer either: it must not pass for a rightly said "absent"
    uncertain = replace(failed, status=TargetStatus.UNCERTAIN)
    assert uncertain.unanswered
    assert not uncertain.failed
    assert replace(uncertain, present=False).answered_present
    assert RECORD.answered_present


def test_truths_of_another_shape_or_voxel_have_another_digest() -> None:
    truth = np.zeros((2, 3, 4), bool)
    other = truth.copy()
    other[0, 0, 0] = True
    digests = {truth_digest(truth), truth_digest(other), truth_digest(truth.reshape(4, 3, 2))}
    assert len(digests) == 3


def test_a_structure_is_shown_in_words() -> None:
    assert RECORD.shown_structure == "left kidney"
    assert replace(RECORD, structure=None, target="a polyp").shown_structure == "a polyp"
