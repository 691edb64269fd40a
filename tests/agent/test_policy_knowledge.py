"""What a policy was made for: structures by key or name, and modalities."""

from __future__ import annotations

import pytest

from agent.knowledge import ANYTHING, Knowledge
from agent.values import Target

CT_LIVER = Knowledge(("liver", "left_kidney"), ("CT",))


@pytest.mark.parametrize(
    ("target", "known"),
    [
        (Target("Leber", "liver"), True),
        (Target("Left kidney "), True),
        (Target("liver", "liver_lesion"), False),
        (Target("the tumour"), False),
    ],
)
def test_a_target_is_known_by_its_key_or_without_one_by_its_name(
    target: Target, *, known: bool
) -> None:
    assert CT_LIVER.knows(target) is known
    assert ANYTHING.knows(target)


@pytest.mark.parametrize(
    ("modality", "suited"), [("CT", True), ("", True), ("OT", True), ("MR", False), ("XC", False)]
)
def test_images_that_do_not_tell_may_be_of_what_is_known(modality: str, *, suited: bool) -> None:
    assert CT_LIVER.suits(modality) is suited
    assert ANYTHING.suits(modality)
