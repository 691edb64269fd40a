"""The patient's age, in years."""

from __future__ import annotations

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_node.datasets.patient_age import age_years


@pytest.mark.parametrize(
    ("age", "birth", "study", "years"),
    [
        ("045Y", "", "", 45.0),
        ("018M", "", "", 1.5),
        ("026W", "", "", 0.498),
        ("020D", "", "", 0.0548),
        ("", "19800615", "20200615", 40.0),
        ("45", "19800615", "20200615", 40.0),  # no AS: the dates say it
        ("", "", "20200615", None),
        ("", "19800615", "", None),
        ("", "20210615", "20200615", None),  # not born yet
        ("", "18000101", "20200615", None),  # stands for a date that is not known
        ("", "1980", "20200615", None),
    ],
)
def test_age_is_stated_or_follows_from_the_dates(
    age: str, birth: str, study: str, years: float | None
) -> None:
    ds = Dataset()
    for keyword, vr, text in (
        ("PatientAge", "AS", age),
        ("PatientBirthDate", "DA", birth),
        ("StudyDate", "DA", study),
    ):  # as a file holds it, legal or not
        tag = Tag(keyword)
        ds[tag] = RawDataElement(tag, vr, len(text), text.encode(), 0, False, True)

    measured = age_years(ds)

    assert measured == (None if years is None else pytest.approx(years, abs=0.01))


def test_without_the_attributes_it_is_not_known() -> None:
    assert age_years(Dataset()) is None
