"""/metrics as Prometheus reads it: a line for every state, and what can be said without a
database.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import RecordUnavailable
from server.http.fakes import FakeCounting, FakePictures, FakeRecord, FakeWaiting
from server.http.metrics import exposition
from server.http.ports import Services
from server.record.views import Counts
from server.values import DeliveryState, RequestState, StudyState


class Counted(FakeCounting):
    """Counts that a test gives, or a database that does not answer."""

    def __init__(self, counts: Counts | None) -> None:
        super().__init__(FakeRecord())
        self._counts = counts

    def counts(self) -> Counts:
        """See Counting."""
        if self._counts is None:
            raise RecordUnavailable("PostgreSQL is away")
        return self._counts


def lines_of(counts: Counts | None, storage: Path) -> list[str]:
    """The exposition of a node with these counts."""
    record = FakeRecord()
    services = Services(
        record, Counted(counts), FakeWaiting(FakeRecord()), FakePictures(), (), storage, 0
    )
    text = exposition(services)
    assert text.endswith("\n")
    return text.splitlines()


def test_every_state_has_its_line_also_with_nothing_in_it(tmp_path: Path) -> None:
    counts = Counts({RequestState.DONE: 70_800_000_000}, {}, {DeliveryState.PENDING: 2})

    lines = lines_of(counts, tmp_path)

    assert 'segnode_requests{state="DONE"} 70800000000' in lines  # whole, not 7.08e+10
    assert 'segnode_deliveries{state="pending"} 2' in lines
    for name, states in (
        ("segnode_requests", RequestState),
        ("segnode_studies", StudyState),
        ("segnode_deliveries", DeliveryState),
    ):
        samples = [line.split(" ")[0] for line in lines if line.startswith(f"{name}{{")]
        assert samples == [f'{name}{{state="{state}"}}' for state in states]
        assert lines.count(f"# TYPE {name} gauge") == 1
    assert "segnode_record_up 1" in lines


def test_without_a_database_only_what_is_known_is_said(tmp_path: Path) -> None:
    lines = lines_of(None, tmp_path)

    assert "segnode_record_up 0" in lines
    free = [line for line in lines if line.startswith("segnode_storage_free_bytes ")]
    assert len(free) == 1
    assert int(free[0].split(" ")[1]) > 0
    # numbers of an earlier scrape would be taken for today's
    assert not any("{state=" in line for line in lines)


@pytest.mark.parametrize("counts", [None, Counts({}, {}, {})])
def test_each_sample_stands_behind_its_help_and_type(counts: Counts | None, tmp_path: Path) -> None:
    described = ""
    for line in lines_of(counts, tmp_path):
        if line.startswith("# HELP "):
            described = line.split(" ")[2]
        elif line.startswith("# TYPE "):
            assert line == f"# TYPE {described} gauge"
        else:
            assert line.split(" ")[0].split("{")[0] == described
