"""Which baselines run beside a policy, and why others do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.case import Case
from agent.fakes import FakeSegmenter
from agent.limits import Limits
from agent.values import PromptKind
from models.errors import EvaluationFailed
from models.evaluation.baselines import (
    BASELINES,
    methods_of,
    named_baselines,
    require_possible,
)
from models.evaluation.records import TargetRecord
from models.evaluation.runner import case_records
from models.loaded_models import LoadedModels


class BoxSegmenter(FakeSegmenter):
    supported_prompts = frozenset({PromptKind.BOX})


class ClickSegmenter(FakeSegmenter):
    supported_prompts = frozenset({PromptKind.POINT})


def test_baselines_are_named_in_words() -> None:
    assert named_baselines("all") == tuple(BASELINES)
    assert named_baselines("none") == ()
    assert named_baselines("oracle-box, last-mask") == ("last-mask", "oracle-box")
    with pytest.raises(EvaluationFailed, match=r"no baseline 'oracle'\. Choose of: last-mask"):
        named_baselines("oracle-box,oracle")


def test_all_of_them_answer_a_case(toy_models: LoadedModels, without_grey: Case) -> None:
    methods = methods_of("threshold", toy_models, Limits(), tuple(BASELINES), toy_models)
    assert methods.left_out == {}
    records: list[TargetRecord] = list(case_records(without_grey, methods.run, toy_models, set()))
    names = list(dict.fromkeys(record.method for record in records))
    assert names == ["threshold", *BASELINES]
    assert sum(record.encoder_passes for record in records if record.method != "last-mask") == 1
    assert not [record for record in records if record.failed]
    for name in ("oracle-box", "oracle-clicks", "interactive"):
        assert {r.target for r in records if r.method == name} == {"bright ellipse", "dim ellipse"}


def test_only_those_asked_for_run(toy_models: LoadedModels) -> None:
    methods = methods_of("threshold", toy_models, Limits(), ("single-turn",))
    assert [method.names for method in methods.run] == [("threshold",), ("single-turn",)]


def test_a_segmenter_of_boxes_takes_no_clicks(toy_models: LoadedModels) -> None:
    models = replace(toy_models, segmenter=BoxSegmenter())
    methods = methods_of("threshold", models, Limits(), tuple(BASELINES), models)
    assert methods.left_out == {
        "box-only": "fake takes boxes only, so it is the policy",
        "oracle-clicks": "fake takes no clicks",
        "interactive": "fake takes no clicks",
    }


def test_a_segmenter_of_clicks_takes_no_box(toy_models: LoadedModels) -> None:
    models = replace(toy_models, segmenter=ClickSegmenter())
    methods = methods_of("threshold", models, Limits(), tuple(BASELINES), models)
    assert methods.left_out == dict.fromkeys(
        ("box-only", "oracle-box", "interactive"), "fake takes no box"
    )


def test_the_locator_is_no_baseline_of_itself(toy_models: LoadedModels) -> None:
    left_out = methods_of("locator", toy_models, Limits(), ("locator",)).left_out
    assert left_out == {"locator": "it is the policy"}


def test_a_baseline_that_was_named_and_cannot_run_is_refused_with_those_that_can(
    toy_models: LoadedModels,
) -> None:
    models = replace(toy_models, segmenter=BoxSegmenter())
    named = ("oracle-clicks", "oracle-box")
    left_out = methods_of("threshold", models, Limits(), named, models).left_out
    with pytest.raises(EvaluationFailed) as refusal:
        require_possible(named, "threshold", models, left_out)
    assert str(refusal.value) == (
        "these baselines cannot be run with threshold and fake: oracle-clicks: fake takes no "
        "clicks. Possible are: last-mask, single-turn, oracle-box, locator"
    )
    require_possible(("oracle-box",), "threshold", models, {})
