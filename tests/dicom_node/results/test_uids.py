"""UIDs of results are derived, and the same for ever."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.results.uids import result_uid
from dicom_node.values import ResultIdentity


def test_a_uid_made_once_is_made_again_by_every_later_version() -> None:
    # Written down on 2026-11-21: if this fails, every re-run makes duplicates in every archive
    assert result_uid(ResultIdentity("request-1", 1), "SEG instance") == GOLDEN


GOLDEN = "2.25.287638374102542863874104796682843070322"


@pytest.mark.parametrize(
    ("identity", "kind", "label"),
    [
        (ResultIdentity("request-2", 1), "SEG instance", ""),
        (ResultIdentity("request-1", 2), "SEG instance", ""),
        (ResultIdentity("request-1", 1), "SR instance", ""),
        (ResultIdentity("request-1", 1), "SEG instance", "liver"),
        (ResultIdentity("request-1", 1), "SEG", " instance"),
        (ResultIdentity("request-11", 1), "SEG instance", ""),
        (ResultIdentity("request-", 11), "SEG instance", ""),
    ],
)
def test_anything_else_is_another_uid(identity: ResultIdentity, kind: str, label: str) -> None:
    assert result_uid(identity, kind, label) != GOLDEN


def test_the_time_of_the_request_does_not_matter() -> None:
    asked = ResultIdentity("request-1", 1, datetime(2026, 1, 2, tzinfo=UTC))
    assert result_uid(asked, "SEG instance") == GOLDEN


@given(request_id=st.text(max_size=80), version=st.integers(0, 10**9), label=st.text(max_size=80))
def test_every_uid_is_legal(request_id: str, version: int, label: str) -> None:
    uid = result_uid(ResultIdentity(request_id, version), "tracking", label)

    root, arc, number = uid.split(".")
    assert (root, arc) == ("2", "25")
    assert number == str(int(number))
    assert len(uid) <= 64
