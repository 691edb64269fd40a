"""What a route asks for that its planner cannot do."""

from __future__ import annotations

import pytest

from agent.knowledge import ANYTHING, Knowledge
from server.rules.catalogue import load_catalogue
from server.rules.route_faults import free_text, unknown_to_policy
from server.settings import RouteSettings

ABDOMEN = Knowledge(("liver", "right_kidney", "left_kidney", "bright"), ("CT",))


def told(
    *targets: str, knowledge: Knowledge = ABDOMEN, when: dict[str, str] | None = None
) -> list[str]:
    route = RouteSettings(name="r", when=when or {}, targets=targets)
    return list(unknown_to_policy(route, load_catalogue(), "locator", knowledge))


def test_what_the_policy_knows_is_no_fault() -> None:
    assert told("Liver", "kidneys", "linke Niere", "bright") == []
    assert told("unicorn", "brain", knowledge=ANYTHING, when={"Modality": "MR"}) == []


def test_a_slip_is_told_with_what_was_meant() -> None:
    known = "which is no structure of the catalogue; did you mean"
    whose = "route 'r': policy locator does not know"

    assert told("livr", "left kidny") == [
        f"{whose} 'livr', {known} 'liver'?",
        f"{whose} 'left kidny', {known} 'left kidney'?",
    ]


def test_what_the_policy_does_not_know_is_told_with_what_it_knows() -> None:
    (sentence,) = told("liver", "adrenal glands", "unicorn", "brain")

    assert sentence == (
        "route 'r': policy locator does not know 'right adrenal gland' (of 'adrenal glands'), "
        "'left adrenal gland' (of 'adrenal glands'), 'unicorn' (no structure of the catalogue), "
        "'brain'; take that out of the route's targets, or choose another agent.policy. "
        "It knows liver, right kidney, left kidney, bright"
    )


@pytest.mark.parametrize("pattern", ["MR", "PT", "M?", "US*"])
def test_images_that_the_policy_was_not_made_for(pattern: str) -> None:
    (sentence,) = told("liver", when={"Modality": pattern})

    assert sentence == (
        f"route 'r': policy locator is made for CT, and no such image has the Modality "
        f"'{pattern}'; take that condition out, or choose another agent.policy"
    )


@pytest.mark.parametrize("pattern", ["CT", "ct", "?T", "*", "OT", "C*"])
def test_images_that_it_was_made_for_or_may_take_for_such(pattern: str) -> None:
    assert told("liver", when={"Modality": pattern}) == []


def test_free_text_may_be_meant_and_is_told() -> None:
    route = RouteSettings(name="r", targets=("liver", "livr", "the strange thing"))

    sentences = list(free_text(route, load_catalogue(), "openai", ANYTHING))

    asked = "policy openai is asked for it in these words, and results code them privately"
    assert sentences == [
        f"route 'r': 'livr' is no structure that is known: {asked}; did you mean 'liver'?",
        f"route 'r': 'the strange thing' is no structure that is known: {asked}",
    ]
    assert list(free_text(route, load_catalogue(), "locator", ABDOMEN)) == []
