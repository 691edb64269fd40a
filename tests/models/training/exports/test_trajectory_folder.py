"""A folder says what it was made with and what is in it, and takes nothing made otherwise."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from models.errors import ExportFailed
from models.training.exports.trajectory_folder import (
    begin_folder,
    end_folder,
    figures_of,
    read_manifest,
    records,
)
from tests.support.toy_cases import toy_cases
from tests.support.training.toy_trajectories import SOURCE, toy_run, write_toy_folder

SEED = 1  # draws an absent structure, whose IoU of 1 is no mask's


def test_figures_are_those_of_the_lines_by_hand(tmp_path: Path) -> None:
    for index in (0, 1):
        write_toy_folder(tmp_path, toy_run(per_case=2, seed=SEED), index=index, count=2)
    lines = [
        json.loads(line)
        for path in tmp_path.glob("trajectories-*.jsonl")
        for line in path.read_text().splitlines()
    ]

    figures = end_folder(tmp_path)

    assert figures.kept == len(lines)
    assert figures.turns == sum(len(line["turns"]) for line in lines)
    assert figures.kinds == dict(Counter(line["kind"] for line in lines))
    assert figures.kinds["absent"] > 0
    assert figures.roles == {"key": len(lines)}
    assert figures.structures == dict(Counter(line["target"]["text"] for line in lines))
    assert (figures.done, figures.patients, figures.failed) == (6, 3, {})
    made = len(lines) + sum(figures.dropped.values())
    assert figures.share_kept == pytest.approx(len(lines) / made)
    drawn = [line["final_iou"] for line in lines if line["ious"][-1] is not None]
    assert figures.mean_final_iou == pytest.approx(sum(drawn) / len(drawn))
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert manifest["figures"]["kept"] == len(lines)
    assert manifest["sources"] == [SOURCE]


def test_those_of_volumes_are_counted_by_what_is_asked(tmp_path: Path) -> None:
    write_toy_folder(tmp_path, toy_run(per_case=2), toy_cases(3, depth=7))

    roles = end_folder(tmp_path).roles

    assert set(roles) == {"survey", "key", "carry", "inspect", "review"}
    assert roles["carry"] > 10


def test_an_empty_folder_has_figures_without_a_division(tmp_path: Path) -> None:
    figures = figures_of(tmp_path)

    assert (figures.share_kept, figures.mean_turns, figures.mean_final_iou) == (0.0, 0.0, None)


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    begin_folder(tmp_path, {"seed": 0, "dialect": "tool_call", "per_case": 1}, SOURCE)
    begin_folder(tmp_path, {"seed": 0, "dialect": "tool_call", "per_case": 1}, SOURCE)

    with pytest.raises(ExportFailed, match="another dialect, seed: name another folder"):
        begin_folder(tmp_path, {"seed": 1, "dialect": "think_action", "per_case": 1}, SOURCE)


def test_a_second_data_set_is_named_beside_the_first(tmp_path: Path) -> None:
    for dataset in ("one", "two", "one"):
        begin_folder(tmp_path, {"seed": 0}, {"dataset": dataset})

    manifest = read_manifest(tmp_path)

    assert manifest is not None
    assert manifest["sources"] == [{"dataset": "one"}, {"dataset": "two"}]


def test_another_programs_manifest_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"kind": "segnode-dataset"}')

    with pytest.raises(ExportFailed, match="no manifest of trajectories"):
        begin_folder(tmp_path, {}, SOURCE)


def test_a_line_of_another_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "trajectories-00000-of-00001.jsonl").write_text('{"version": 1}\n{"version": 9}\n')

    with pytest.raises(ExportFailed, match=r"line 2 is no trajectory \(it is of version 9\)"):
        list(records(tmp_path))


def test_the_last_line_of_a_killed_run_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "trajectories-00000-of-00001.jsonl").write_text('{"version": 1}\n{"versi')

    assert list(records(tmp_path)) == [{"version": 1}]
