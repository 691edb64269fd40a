"""Routes and what a request may ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import (
    BadTarget,
    ConfigurationError,
    NoTargets,
    TooManyTargets,
    UnknownDestination,
)
from server.rules.catalogue import load_catalogue
from server.rules.routing import Rules, matches
from server.settings import RouteSettings

CT = {"Modality": "CT", "StudyDescription": "CT Abdomen with contrast", "SeriesNumber": "4"}


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({}, True),  # every study
        ({"Modality": "CT"}, True),
        ({"Modality": "ct"}, True),  # case does not matter
        ({"Modality": "MR"}, False),
        ({"Modality": "C?"}, True),
        ({"Modality": "C??"}, False),
        ({"Modality": "*"}, True),
        ({"StudyDescription": "*abdomen*"}, True),
        ({"StudyDescription": "abdomen"}, False),  # the whole text, not a part
        ({"Modality": "CT", "StudyDescription": "*thorax*"}, False),  # all must fit
        ({"Modality": "[CM]T"}, False),  # brackets are text
        ({"Modality": "C.|.*"}, False),  # and so is everything of a regular expression
        ({"BodyPartExamined": "ABDOMEN"}, False),  # a missing attribute is empty
        ({"BodyPartExamined": "*"}, True),
        ({"BodyPartExamined": ""}, True),
    ],
)
def test_patterns(when: Mapping[str, str], expected: bool) -> None:
    assert matches(when, CT) is expected


def test_a_pattern_spans_lines() -> None:
    assert matches({"ImageComments": "*contrast*"}, {"ImageComments": "first\ncontrast\nlast"})


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("**", "ab", True),
        ("?", "", False),
        ("a*a", "a", False),  # the two ends may not overlap
        ("a*a", "aa", True),
        ("*ab*ab", "ab", False),
        ("*ab*ab", "abab", True),
        ("*a?c*", "aabcabd", True),
        ("*b?", "abab", False),
        ("*b?", "ababa", True),
        ("?*?", "a", False),
        ("a*b*c", "a c b c", True),
        ("a*b*c", "a c b", False),
    ],
)
def test_wildcards(pattern: str, text: str, expected: bool) -> None:
    assert matches({"ImageComments": pattern}, {"ImageComments": text}) is expected


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=12))
def test_wildcards_are_those_of_an_engine_that_tries_everything(pattern: str, text: str) -> None:
    expression = "".join({"*": ".*", "?": "."}.get(letter, letter) for letter in pattern)

    expected = re.fullmatch(expression, text) is not None

    assert matches({"ImageComments": pattern}, {"ImageComments": text}) is expected


def test_no_text_of_a_peer_takes_long() -> None:
    # tried with every place of every *, this would take longer than the world has existed
    pattern = "*a" * 30 + "*b"
    texts = {"ImageComments": "a" * 10_000_000, "StudyDescription": "ct abd " * 100_000}

    assert not matches({"ImageComments": pattern}, texts)
    assert not matches({"StudyDescription": "*CT*abd*!"}, texts)
    assert matches({"StudyDescription": "*CT*abd*"}, texts)


def rules(*routes: RouteSettings, max_targets: int = 5) -> Rules:
    return Rules(load_catalogue(), ("pacs", "archive"), routes, max_targets)


def test_one_instance_must_fit_the_whole_route() -> None:
    # Arrange: CT in one series, the description in another
    route = RouteSettings(
        name="a", when={"Modality": "CT", "SeriesDescription": "thin"}, targets=("liver",)
    )
    split = [{"Modality": "CT"}, {"Modality": "MR", "SeriesDescription": "thin"}]

    # Act, Assert
    assert rules(route).matching(split) == ()
    assert rules(route).matching([*split, {"Modality": "CT", "SeriesDescription": "thin"}]) == (
        route,
    )


@pytest.mark.parametrize("keyword", ["Modalty", "PatientName", "PatientID"])
def test_a_keyword_that_cannot_be_matched_on_is_a_mistake_in_the_configuration(
    keyword: str,
) -> None:
    with pytest.raises(ConfigurationError, match=f"route 'x': '{keyword}' cannot be matched"):
        rules(RouteSettings(name="x", when={keyword: "*"}, targets=("liver",)))


def test_names_become_structures_each_once() -> None:
    targets = rules().targets([" Kidneys", "left_kidney", "Liver", "liver ", "a strange thing"])
    assert [(target.text, target.structure) for target in targets] == [
        ("right kidney", "right_kidney"),
        ("left kidney", "left_kidney"),
        ("Liver", "liver"),
        ("a strange thing", None),
    ]


def test_nothing_asked_for() -> None:
    with pytest.raises(NoTargets, match="name at least one"):
        rules().targets([])


@pytest.mark.parametrize("text", ["", "   ", "\n", "liver\0", "x" * 201, "a\nb"])
def test_a_target_that_is_no_text(text: str) -> None:
    with pytest.raises(BadTarget, match="target 2 is empty"):
        rules().targets(["liver", text])


@pytest.mark.parametrize(
    "texts",
    [
        [f"thing {number}" for number in range(10_000)],
        ["kidneys", "lungs", "liver", "spleen", "aorta"],  # names that stand for several count all
    ],
)
def test_too_many_targets(texts: list[str]) -> None:
    with pytest.raises(TooManyTargets, match="one request may ask for 5"):
        rules().targets(texts)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["archive"], ("archive",)),
        (["archive", "archive"], ("archive",)),
        ([], ()),  # nowhere, if that is said
        (None, ("pacs",)),  # the matching route's
    ],
)
def test_where_results_go(asked: list[str] | None, expected: tuple[str, ...]) -> None:
    route = RouteSettings(
        name="a", when={"Modality": "CT"}, targets=("liver",), destinations=("pacs",)
    )
    assert rules(route).where_to(asked, [CT]) == expected


def test_without_a_route_results_go_everywhere() -> None:
    assert rules().where_to(None, [CT]) == ("pacs", "archive")


def test_an_unknown_destination_is_named_with_those_that_exist() -> None:
    with pytest.raises(UnknownDestination, match="called nowhere; configured are: pacs, archive"):
        rules().where_to(["pacs", "nowhere"], [CT])
