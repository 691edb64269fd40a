"""Dates and times of a result are in the source's zone, or in the node's where that is known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.results.report import ReportWriter
from dicom_node.results.timezones import offset_text, zone_of
from dicom_node.results.writers import write_result
from dicom_node.values import (
    Algorithm,
    Code,
    ResultContent,
    ResultIdentity,
    ResultSegment,
    SourceVolume,
    UndrawnFinding,
)
from tests.support import phantoms

SMALL: dict[str, Any] = {"shape": (3, 40, 48), "spacing_mm": (5.0, 8.0, 8.0)}


@pytest.fixture
def living_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the zone of this process."""

    def move(zone: str) -> None:
        if zone:
            monkeypatch.setenv("TZ", zone)
        else:
            monkeypatch.delenv("TZ", raising=False)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


def source(**values: str) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize("stated", ["+0100", "-0330", "+1400", "+0000"])
def test_the_source_s_own_is_kept(living_in: Callable[[str], None], stated: str) -> None:
    living_in("Asia/Tokyo")

    zone = zone_of(source(TimezoneOffsetFromUTC=stated))

    assert zone is not None
    assert offset_text(zone) == stated


@pytest.mark.parametrize("odd", ["0100", "+1", "CET", "+2500", "+0199", "+0100\\+0200"])
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_offset_is_as_if_it_were_not_there(
    living_in: Callable[[str], None], odd: str
) -> None:
    living_in("Asia/Tokyo")

    zone = zone_of(source(TimezoneOffsetFromUTC=odd, StudyDate="20260102", StudyTime="101112"))

    assert zone is not None
    assert offset_text(zone) == "+0900"


@pytest.mark.parametrize(("date", "offset"), [("20260102", "+0100"), ("20260702", "+0200")])
def test_the_node_s_is_that_of_the_study_s_day(
    living_in: Callable[[str], None], date: str, offset: str
) -> None:
    living_in("Europe/Berlin")

    zone = zone_of(source(StudyDate=date, StudyTime="101112"))

    assert zone is not None
    assert offset_text(zone) == offset


def test_nobody_knows(living_in: Callable[[str], None]) -> None:
    living_in("UTC")

    assert zone_of(source(StudyDate="20260102"), environ={}) is None
    assert zone_of(source(StudyDate="20260102"), environ={"TZ": "UTC"}) is not None


@pytest.mark.parametrize(
    ("stated", "made"), [("-0330", ("20260102", "220500")), ("+1100", ("20260103", "123500"))]
)
def test_a_result_carries_it_and_counts_in_it(
    tmp_path: Path,
    volume_of: Callable[[Any], SourceVolume],
    algorithm: Algorithm,
    drawn: Callable[..., list[ResultSegment]],
    write: Callable[..., Dataset],
    stated: str,
    made: tuple[str, str],
) -> None:
    phantom = phantoms.torso_ct(
        tmp_path / "in", edit=phantoms.setting(TimezoneOffsetFromUTC=stated), **SMALL
    )
    volume, segments = volume_of(phantom), drawn(phantom, "liver")
    identity = ResultIdentity("request", 1, datetime(2026, 1, 3, 1, 35, tzinfo=UTC))

    seg = write(volume, segments, identity=identity)

    assert seg.TimezoneOffsetFromUTC == stated
    assert (seg.ContentDate, str(seg.ContentTime)) == made
    assert (seg.SeriesDate, str(seg.SeriesTime)) == made
    assert (seg.StudyDate, seg.StudyTime) == ("20260102", "101112")


def test_a_report_carries_it_too(
    tmp_path: Path,
    volume_of: Callable[[Any], SourceVolume],
    algorithm: Algorithm,
    identity: ResultIdentity,
) -> None:
    phantom = phantoms.torso_ct(
        tmp_path / "in", edit=phantoms.setting(TimezoneOffsetFromUTC="+0530"), **SMALL
    )
    absent = UndrawnFinding("spleen", Code("78961009", "SCT", "Spleen"), None, "spleen", "not seen")

    written = write_result(
        ReportWriter(),
        ResultContent(volume_of(phantom), [], [absent], algorithm, identity),
        tmp_path / "sr.dcm",
    )

    assert pydicom.dcmread(written.path).TimezoneOffsetFromUTC == "+0530"
