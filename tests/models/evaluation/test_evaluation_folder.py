"""A folder holds one run, and says which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import EvaluationFailed
from models.evaluation.records import Shard, append
from models.evaluation.run_folder import (
    Run,
    begin,
    end_part,
    read_run,
    records_of_policy,
    skipped_files,
)
from tests.models.evaluation.test_summary import RECORDS

RUN = Run("btcv", "validation", "ours", "fake", ("ab", "cd"), ("oracle-box",), 5)


def test_a_run_is_read_as_it_began(tmp_path: Path) -> None:
    begin(tmp_path / "deep" / "run", RUN, resume=False)
    assert read_run(tmp_path / "deep" / "run") == RUN


def test_a_folder_with_a_run_is_entered_only_to_go_on(tmp_path: Path) -> None:
    begin(tmp_path, RUN, resume=False)
    with pytest.raises(EvaluationFailed, match="--resume to go on"):
        begin(tmp_path, RUN, resume=False)
    begin(tmp_path, RUN, resume=True)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"split": "test"}, "its split is 'validation', now it would be 'test'"),
        ({"weights": ("ab", "ef")}, "its weights is ab, cd, now it would be ab, ef"),
        ({"max_turns": 3}, "its max_turns is 5, now it would be 3"),
    ],
)
def test_another_run_is_not_mixed_in(tmp_path: Path, change: dict[str, object], named: str) -> None:
    begin(tmp_path, RUN, resume=False)
    with pytest.raises(EvaluationFailed, match=named):
        begin(tmp_path, replace(RUN, **change), resume=True)  # type: ignore[arg-type]  # any field


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationFailed, match="holds no evaluation"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(EvaluationFailed, match="cannot be read"):
        read_run(tmp_path)


def test_skipped_files_of_all_parts_are_named_once(tmp_path: Path) -> None:
    broken = {"file": "a.png", "reason": "it is damaged."}
    end_part(tmp_path, Shard(1, 2), 3, [broken])
    end_part(tmp_path, Shard(2, 2), 2, [broken, {"file": "b.png", "reason": "no truth."}])
    assert [skipped["file"] for skipped in skipped_files(tmp_path)] == ["a.png", "b.png"]


def test_the_policys_lines_are_those_to_compare(tmp_path: Path) -> None:
    begin(tmp_path, RUN, resume=False)
    with pytest.raises(EvaluationFailed, match="no line of its policy ours yet"):
        records_of_policy(tmp_path)
    append(Shard().file(tmp_path), [RECORDS[0], replace(RECORDS[0], method="oracle-box")])
    assert records_of_policy(tmp_path) == [RECORDS[0]]
