"""The index of headers: whatever a header holds gets in, and one that does not hides no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, text

from dicom_node.values import StoredInstance
from server.errors import RecordRefused, StudyIncomplete
from server.record.storable import LONGEST_TEXT, MOST_FAULTS, json_text
from server.record.stored_studies import WHOLE
from server.record.tables import InstanceRow
from server.settings import RouteSettings
from server.values import Stage
from tests.server.conftest import Desk

STUDY = "1.2.826.0.1.3680043.8.498.1"
ROUTE = RouteSettings(name="abdomen", when={"Modality": "CT"}, targets=("liver",))


def rows(desk: Any) -> list[InstanceRow]:
    with desk.sessions.begin() as session:
        query = select(InstanceRow).order_by(InstanceRow.sop_instance_uid)
        return list(session.scalars(query))


@pytest.mark.parametrize(
    "number",
    [2**31, -(2**31) - 1, 99_999_999_999, 10**300, -(10**5000)],
    ids=["one more", "one less", "typed", "endless", "minus endless"],
)
def test_an_integer_that_no_column_holds_is_no_value(desk: Desk, number: int) -> None:
    # Arrange
    desk.held.put(2)
    desk.held.put(1, first=3, series_number=number, number_of_frames=number)

    # Act
    desk.record.complete(STUDY, actor="test")

    # Assert
    *sound, odd = rows(desk)
    assert [one.series_number for one in sound] == [1, 1]
    assert (odd.series_number, odd.number_of_frames) == (None, 1)
    assert odd.faults == ["SeriesNumber", "NumberOfFrames"]
    (shown,) = desk.record.study(STUDY).faulty
    assert shown.sop_instance_uid.endswith(".3")
    assert shown.faults == ("SeriesNumber", "NumberOfFrames")


@pytest.mark.parametrize("bad", ["\0", "\ud800", "a\0\udfff"])
def test_characters_that_the_database_has_not_are_replaced_wherever_they_are(
    desk: Desk, bad: str
) -> None:
    desk.held.put(
        1,
        attributes={bad: bad, "Modality": bad},
        faults=(bad,),
        modality=bad,
        manufacturer=bad,
        series_description=bad,
    )

    desk.record.complete(STUDY, actor="test")

    [row] = rows(desk)
    assert "\ufffd" in row.modality
    assert set(row.attributes) == {row.modality, "Modality"}
    assert row.faults == [row.modality]


def test_text_is_cut_before_it_is_kept(desk: Desk) -> None:
    desk.held.put(
        1,
        series_description="d" * 10_000_000,
        attributes={"StudyDescription": "s" * 1_000_000},
        faults=tuple(f"fault {n}" for n in range(5000)),
    )

    desk.record.complete(STUDY, actor="test")

    [row] = rows(desk)
    assert len(row.series_description) == LONGEST_TEXT
    assert len(row.attributes["StudyDescription"]) == LONGEST_TEXT
    assert len(row.faults) == MOST_FAULTS


def test_a_uid_that_is_none_gets_a_key_of_bounded_length(desk: Desk) -> None:
    # Arrange: what a peer may write behind the header that was looked at when it arrived
    desk.held.put(1)
    header = next(iter(desk.held.headers.values()))
    long = "1." + "9" * 8000
    for number, uid in enumerate((long, long + "1", "../../etc", ""), start=2):
        path = header.path.with_name(f"{number}.dcm")
        desk.held.headers[path] = _with_uid(header, path, uid)

    # Act
    desk.record.complete(STUDY, actor="test")

    # Assert: each is there once, found again and shown
    assert len(rows(desk)) == 5
    assert max(len(row.sop_instance_uid) for row in rows(desk)) <= 64
    assert len(desk.record.study(STUDY).faulty) == 4


def _with_uid(header: Any, path: Any, uid: str) -> Any:
    from dataclasses import replace

    return replace(header, path=path, sop_instance_uid=uid)


def refuse(desk: Any, *conditions: str) -> None:
    """Let PostgreSQL refuse certain instances, for a reason that nobody has foreseen."""
    with desk.sessions.begin() as session:
        for number, condition in enumerate(conditions):
            session.execute(
                text(f"ALTER TABLE instances ADD CONSTRAINT odd_{number} CHECK ({condition})")
            )


def test_an_instance_that_postgresql_refuses_hides_no_other(desk: Desk) -> None:
    # Arrange
    refuse(desk, "instance_number NOT IN (7, 13)")
    desk.held.put(20, series_description="Mrs Miller 1961")

    # Act
    view = desk.record.complete(STUDY, actor="test")

    # Assert
    assert view.summary.instances == 20
    assert [one.faults for one in view.faulty] == [view.faulty[0].faults] * 2
    assert {one.sop_instance_uid for one in view.faulty} == {f"{STUDY}.1.7", f"{STUDY}.1.13"}
    assert "SQLSTATE 23514, check violation" in view.faulty[0].faults[0]
    assert "Miller" not in view.faulty[0].faults[0]
    assert view.summary.version == 1


def test_a_study_of_which_nothing_can_be_indexed_says_so(desk: Desk) -> None:
    refuse(desk, "instance_number < 0 AND instance_number IS NOT NULL")
    desk.held.put(2)

    with pytest.raises(RecordRefused, match="23514"):
        desk.record.complete(STUDY, actor="test")


def test_a_study_of_which_nothing_can_be_read_ends_in_a_rejected_request(
    make_desk: Callable[..., Desk],
) -> None:
    # Arrange: what the reader could not do, as the shelf tells it
    desk = make_desk(ROUTE)
    reason = "reading it takes more memory than an instance may take"
    fault = f"{WHOLE}: {reason}"
    desk.held.put(2, attributes={}, faults=(WHOLE,), reason=reason)

    # Act
    view = desk.record.complete(STUDY, actor="test")
    desk.record.complete(STUDY, actor="test")

    # Assert
    (rejected,) = desk.record.requests()
    assert (rejected.state, rejected.failed_stage, rejected.route) == ("REJECTED", "index", None)
    assert rejected.error == f"none of the study's instances can be read: {reason}"
    assert view.faulty[0].faults == (fault,)


def test_one_sound_instance_makes_the_study_readable(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(ROUTE)
    desk.held.put(2, attributes={}, faults=(WHOLE,), reason="no DICOM")
    desk.held.put(1, first=3)

    desk.record.complete(STUDY, actor="test")

    assert [one.state for one in desk.record.requests()] == ["QUEUED"]


def test_counts_are_kept_with_the_rows(make_desk: Callable[..., Desk]) -> None:
    # Arrange
    desk = make_desk(ROUTE)
    desk.held.put(3)
    desk.held.put(2, series=2)
    desk.record.completion.index(STUDY)
    desk.held.put(2, series=2, first=3)
    desk.held.put(1, series=3)

    # Act
    desk.record.complete(STUDY, actor="test")
    desk.record.submit(STUDY, ["spleen"], actor="jo")

    # Assert
    (listed,) = desk.record.studies()
    assert (listed.instances, listed.series, listed.requests) == (8, 3, 2)


def test_a_study_that_is_given_up_shows_a_request_by_its_route(
    make_desk: Callable[..., Desk],
) -> None:
    # Arrange
    desk = make_desk(ROUTE)
    desk.held.put(3)
    desk.record.completion.index(STUDY)

    # Act: said twice, as after a restart
    desk.record.completion.give_up(STUDY, "it cannot be read")
    desk.record.completion.give_up(STUDY, "it still cannot be read")

    # Assert
    (row,) = desk.record.requests()
    assert (row.state, row.route, row.failed_stage) == ("REJECTED", "abdomen", "index")
    assert row.error == "it still cannot be read"
    assert [target.text for target in desk.record.request(row.id).targets] == ["liver"]
    assert desk.record.study(STUDY).summary.fault == "it still cannot be read"
    assert desk.events(row.id) == ["request.rejected"]


def test_a_study_of_which_nothing_is_known_shows_a_request_all_the_same(desk: Desk) -> None:
    desk.held.put(3)

    desk.record.completion.give_up(STUDY, "it cannot be read")

    (row,) = desk.record.requests()
    assert (row.state, row.route, row.error) == ("REJECTED", None, "it cannot be read")
    with pytest.raises(StudyIncomplete, match="it cannot be read"):
        desk.record.submit(STUDY, ["liver"], actor="jo")
    assert desk.record.studies()[0].requests == 1


def test_a_study_that_was_given_up_is_taken_when_a_person_asks_again(
    make_desk: Callable[..., Desk],
) -> None:
    # Arrange
    desk = make_desk(ROUTE)
    desk.held.put(3)
    desk.record.completion.give_up(STUDY, "the disk failed")

    # Act
    view = desk.record.complete(STUDY, actor="jo")

    # Assert: the rejected one is superseded and asks for nothing in the new version
    assert (view.summary.fault, view.summary.version) == (None, 1)
    assert [(one.state, one.route) for one in desk.record.requests()] == [
        ("SUPERSEDED", None),
        ("QUEUED", "abdomen"),
    ]


def test_a_rejection_without_anything_new_behind_it_is_superseded_too(
    make_desk: Callable[..., Desk],
) -> None:
    desk = make_desk(ROUTE)
    desk.held.put(3)
    desk.record.complete(STUDY, actor="jo")
    desk.record.completion.give_up(STUDY, "the disk failed")

    desk.record.complete(STUDY, actor="jo")

    assert [one.state for one in desk.record.requests()] == ["QUEUED", "SUPERSEDED"]


def test_a_start_looks_only_at_what_is_not_settled(desk: Desk) -> None:
    # Arrange: complete; complete and grown; given up; given up and grown; indexed only; never heard
    # of
    names = {name: f"{STUDY}.{n}" for n, name in enumerate("abcdef", start=1)}
    for name in "abcde":
        desk.held.put(2, study=names[name])
    for name in "ab":
        desk.record.complete(names[name], actor="test")
    for name in "cd":
        desk.record.completion.give_up(names[name], "broken")
    desk.record.completion.index(names["e"])
    for name in "bdf":
        desk.held.put(1, study=names[name], first=9)

    # Act, Assert
    assert desk.record.completion.unsettled() == tuple(names[name] for name in "bdef")


def test_a_file_that_nobody_can_read_is_looked_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Arrange: one file more in the folder than the inbox can tell anything of
    desk.held.put(2)
    counted = desk.held.count_files
    monkeypatch.setattr(desk.held, "count_files", lambda uid: counted(uid) + 1)
    desk.record.complete(STUDY, actor="test")

    # Act, Assert
    assert desk.record.completion.unsettled() == ()


def test_what_comes_while_a_study_is_read_is_found_at_the_next_start(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Arrange: the process dies after an instance was linked and before the watch heard of it
    desk.held.put(2)
    instances = desk.held.instances

    def arriving(uid: str) -> list[StoredInstance]:
        listed = instances(uid)
        desk.held.put(1, first=3)
        return listed

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(desk.held, "instances", arriving)
        desk.record.complete(STUDY, actor="test")

    # Act, Assert
    assert desk.record.completion.unsettled() == (STUDY,)


def test_json_of_anything_can_be_kept() -> None:
    value = {"\0": [float("nan"), float("inf"), 10**400, True, None, 1.5, ("\ud800",)], 2: "x"}

    assert json_text(value) == (
        '{"\\ufffd": [null, null, null, true, null, 1.5, ["\\ufffd"]], "2": "x"}'
    )


def test_whatever_is_said_of_a_request_can_be_kept(desk: Desk) -> None:
    request_id = desk.request()

    desk.runs.fail(request_id, 1, Stage.SELECT, "NUL \0 and half a pair \ud800")
    desk.record.retry(request_id, actor="jo\0")

    assert desk.record.audit()[-1].actor == "jo\ufffd"
    assert desk.events(request_id)[-1] == "request.queued"
