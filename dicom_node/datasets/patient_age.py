"""How old the patient was, in years: what is expected of an adult's organs is not of a child's."""

from __future__ import annotations

import re
from datetime import datetime

from pydicom.dataset import Dataset

from dicom_node.datasets.attribute_values import texts
from dicom_node.errors import UnusableValue

_AGE = re.compile(r"(\d{3})([DWMY])")  # VR AS, PS3.5 table 6.2-1
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}
_OLDEST = 130.0  # years; a birth date such as 1800-01-01 stands for one that is not known
_DAYS_PER_YEAR = 365.25


def age_years(ds: Dataset) -> float | None:
    """Patient's Age, else the time from birth to the study, years; None where neither says it."""
    stated = _AGE.fullmatch(_first(ds, "PatientAge"))
    if stated is not None:
        years = int(stated[1]) / _PER_YEAR[stated[2]]
    else:
        birth, study = _date(ds, "PatientBirthDate"), _date(ds, "StudyDate")
        if birth is None or study is None:
            return None
        years = (study - birth).days / _DAYS_PER_YEAR
    return years if 0 <= years <= _OLDEST else None


def _date(ds: Dataset, keyword: str) -> datetime | None:
    try:
        return datetime.strptime(_first(ds, keyword), "%Y%m%d")
    except ValueError:
        return None


def _first(ds: Dataset, keyword: str) -> str:
    try:
        return next(iter(texts(ds, keyword)), "")
    except UnusableValue:
        return ""
