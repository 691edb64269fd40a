"""The zone of a result's dates and times: Timezone Offset From UTC (0008,0201), where known.

The offset holds for all dates and times of an instance (PS3.3 C.12.1.1.8), also for those copied
from the source. So it is the source's own where it states one. Where it states none, its times are
taken as those of the node's zone, at the offset of the study's date, so that a change to summer
time in between moves nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone, tzinfo

from pydicom.dataset import Dataset

from dicom_node.datasets.attribute_values import texts
from dicom_node.errors import UnusableValue

_OFFSET = re.compile(r"([+-])(\d\d)([0-5]\d)", re.ASCII)
_MOST = timedelta(hours=14)  # PS3.5 table 6.2-1, DT: -1200 to +1400
_WINTER, _SUMMER = datetime(2026, 1, 1), datetime(2026, 7, 1)


def zone_of(source: Dataset, environ: Mapping[str, str] = os.environ) -> tzinfo | None:
    """The zone of the source's dates and times; None where neither it nor the node has one."""
    stated = _stated(source)
    if stated is not None or not node_knows_its_zone(environ):
        return stated
    at = _study_time(source) or datetime.now()
    local = at.astimezone().tzinfo
    # zones before 1900 went by the sun, in seconds that the attribute has no room for
    whole = local is not None and (local.utcoffset(at) or timedelta()).seconds % 60 == 0
    return local if whole else None


def offset_text(zone: tzinfo) -> str:
    """The value of the attribute for a zone of one offset: "+0100"."""
    return datetime.now(zone).strftime("%z")


def node_knows_its_zone(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the zone of this machine has been set.

    UTC is the default of most servers, and no statement about the place of their hospital.
    """
    offsets = {moment.astimezone().utcoffset() for moment in (_WINTER, _SUMMER)}
    return bool(environ.get("TZ")) or offsets != {timedelta()}


def _stated(source: Dataset) -> tzinfo | None:
    """The offset that the source states, None where it states none or no legal one."""
    try:
        text = "\\".join(texts(source, "TimezoneOffsetFromUTC"))
    except UnusableValue:
        return None
    match = _OFFSET.fullmatch(text)
    if match is None:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset) if offset <= _MOST else None


def _study_time(source: Dataset) -> datetime | None:
    """Study Date and Time, None where they are missing or illegal."""
    try:
        text = "".join(
            "".join(texts(source, keyword)[:1])[:8] for keyword in ("StudyDate", "StudyTime")
        )
        return datetime.strptime(text[:14].ljust(14, "0"), "%Y%m%d%H%M%S")
    except (UnusableValue, ValueError):
        return None
