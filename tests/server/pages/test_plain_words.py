"""Every word of the record has a plain one."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

import pytest

from agent.turns import Outcome
from agent.values import Role, TargetStatus
from server.pages import words
from server.record.views import StudyFacts
from server.values import DeliveryState, RequestState, StudyState
from tests.support.http.filled_record import ACTIONS


@pytest.mark.parametrize(
    ("table", "members"),
    [
        (words.STATES, RequestState),
        (words.STUDY_STATES, StudyState),
        (words.STATUSES, TargetStatus),
        (words.DELIVERIES, DeliveryState),
        (words.ROLES, Role),
        (words.OUTCOMES, Outcome),
    ],
)
def test_every_word_of_the_record_has_a_plain_one(
    table: dict[str, str], members: type[StrEnum]
) -> None:
    assert set(table) == set(members)
    assert len(set(table.values())) == len(table)


def test_every_action_has_its_sentence() -> None:
    sentences = [words.action(action) for action in ACTIONS]

    assert len(set(sentences)) == len(ACTIONS)
    assert not [text for text in sentences if text == words.action({"kind": "new"})]


@pytest.mark.parametrize(
    "record", [{}, {"kind": "box"}, {"kind": "box", "box_xyxy_px": [1]}, {"kind": "new"}]
)
def test_an_action_that_is_not_known_is_said_to_be(record: dict[str, object]) -> None:
    assert words.action(record) == "Did something that this version does not know"


@pytest.mark.parametrize(
    ("facts", "title"),
    [
        (StudyFacts("MR", "", ""), "MR"),
        (StudyFacts("", "", ""), "Study without a description"),
        (StudyFacts("CT", "a^b", "2026"), "CT · a b · 2026"),
    ],
)
def test_a_study_has_a_title(facts: StudyFacts, title: str) -> None:
    assert words.study_title(facts) == title


def test_a_moment_is_on_the_nodes_clock() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    assert words.moment(at) == at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    assert words.moment(None) == ""


def test_volumes_are_whole() -> None:
    assert [words.volume(ml) for ml in (1523.187, 0.2, 0.0, None)] == [
        "1523 ml",
        "<1 ml",
        "0 ml",
        "",
    ]
