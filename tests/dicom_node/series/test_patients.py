"""Images of two patients are told from each other without a word of who they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import NotAVolume
from dicom_node.series.choice import choose_series
from dicom_node.series.header import read_header
from dicom_node.series.patients import by_patient, differing, patient_digests
from dicom_node.values import InstanceHeader
from tests.support import phantoms

SMALL: dict[str, Any] = {"shape": (6, 10, 12), "spacing_mm": (5.0, 20.0, 18.0)}


def header(**patient: str) -> InstanceHeader:
    given = {"identifier": "P1", "issuer": "", "name": "Doe^Jane", "birth_date": "19500101"}
    digests = patient_digests("1.2.3", **(given | patient))
    return InstanceHeader(Path("x.dcm"), "1.2.3", "1.2.3.4", "1.2.3.4.5", "", "", patient=digests)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"name": "Doe^Jane"}, {"name": "DOE^JANE^^^"}),
        ({"name": "Doe^Jane"}, {"name": " doe jane "}),
        ({"name": "Doe^Jane"}, {"name": "Doe, Jane"}),
        ({"name": "Müller-Meier^Eva"}, {"name": "MULLER MEIER^EVA"}),
        ({"name": "Yamada^Tarou=山田^太郎"}, {"name": "Yamada^Tarou"}),
        ({"name": ""}, {"name": "Doe^Jane"}),
        ({"identifier": "P1 "}, {"identifier": "p1"}),
        ({"identifier": ""}, {}),
        ({"issuer": "HERE"}, {"issuer": ""}),
        ({"birth_date": "1950.01.01"}, {"birth_date": "19500101"}),
        ({"birth_date": ""}, {}),
    ],
)
def test_one_patient_written_in_two_ways(first: dict[str, str], second: dict[str, str]) -> None:
    assert differing([header(**first), header(**second)]) == ()


@pytest.mark.parametrize(
    ("other", "attribute"),
    [
        ({"identifier": "P2"}, "Patient ID"),
        ({"name": "Roe^Jane"}, "Patient's Name"),
        ({"name": "山田^太郎"}, "Patient's Name"),
        ({"birth_date": "19500102"}, "Patient's Birth Date"),
    ],
)
def test_two_patients_by_one_attribute(other: dict[str, str], attribute: str) -> None:
    # the one without anything is nobody's
    nobody = header(identifier="", name="", birth_date="")

    assert differing([header(), nobody, header(**other)]) == (attribute,)
    assert len(by_patient([header(), header(**other), header()])) == 2


def test_the_same_number_of_two_issuers() -> None:
    assert differing([header(issuer="HERE"), header(issuer="THERE")]) == ("Issuer of Patient ID",)


def test_a_header_says_nothing_of_the_patient(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, shape=(1, 10, 12))

    read = read_header(phantom.paths[0])

    assert read.patient.name
    assert not any(
        word in repr(read) for word in ("Phantom^Torso", "PHANTOM-1", "19500101", "patient=")
    )
    assert not any(
        word in str(read.patient) for word in ("Torso", "torso", "PHANTOM", "phantom", "1950")
    )


PEOPLE = ("Roe", "P2", "1961", "Torso", "PHANTOM", "1950")


def headers_in(folder: Path) -> list[InstanceHeader]:
    return [read_header(path) for path in sorted(folder.rglob("*.dcm"))]


@pytest.mark.parametrize(
    ("other", "attribute"),
    [
        ({"PatientID": "P2"}, "Patient ID"),
        ({"PatientName": "Roe^Richard"}, "Patient's Name"),
        ({"PatientBirthDate": "19610101"}, "Patient's Birth Date"),
        (
            {"PatientID": "P2", "PatientName": "Roe^Richard", "PatientBirthDate": "19610101"},
            "Patient ID, Patient's Name and Patient's Birth Date",
        ),
    ],
)
@pytest.mark.parametrize("asked_for", [True, False])
def test_two_patients_in_one_series_are_refused(
    tmp_path: Path, other: dict[str, str], attribute: str, asked_for: bool
) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    for path in phantom.paths[3:]:
        phantoms.rewrite(path, **other)
    uid = phantom.series_instance_uid if asked_for else None

    with pytest.raises(NotAVolume) as caught:
        choose_series(headers_in(tmp_path), series_instance_uid=uid)

    sentence = str(caught.value)
    assert f"images of 2 patients: {attribute} differ between instances 1-3 and instances 4-6" in (
        sentence
    )
    assert not any(word in sentence for word in PEOPLE)


def test_one_patient_written_in_two_ways_is_one_series(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    for path in phantom.paths[3:]:
        phantoms.rewrite(path, PatientName="PHANTOM TORSO^^", PatientBirthDate="")

    assert choose_series(headers_in(tmp_path)).warnings == ()


@pytest.mark.parametrize("asked_for", [True, False])
def test_two_patients_in_two_series_are_warned_of(tmp_path: Path, asked_for: bool) -> None:
    wanted = phantoms.torso_ct(tmp_path / "a", **SMALL)
    other = phantoms.Identity(patient_name="Roe^Richard", patient_id="P2")
    phantoms.torso_ct(tmp_path / "b", name="other", series_number=7, identity=other, **SMALL)

    uid = wanted.series_instance_uid if asked_for else None
    choice = choose_series(headers_in(tmp_path), series_instance_uid=uid)

    assert choice.series_instance_uid == wanted.series_instance_uid
    (warning,) = choice.warnings
    assert "several patients: Patient ID, Patient's Name of series 7 (CT, 6 images)" in warning
    assert "in the name that series 2 (CT, 6 images) carries" in warning
    assert not any(word in warning for word in PEOPLE)


def test_a_series_of_two_patients_gives_way_to_one_of_one(tmp_path: Path) -> None:
    mixed = phantoms.torso_ct(tmp_path / "a", **SMALL)
    wanted = phantoms.torso_ct(tmp_path / "b", name="other", series_number=7, **SMALL)
    for path in mixed.paths[3:]:
        phantoms.rewrite(path, PatientID="P2")

    choice = choose_series(headers_in(tmp_path))

    assert choice.series_instance_uid == wanted.series_instance_uid
    assert any("images of 2 patients" in warning for warning in choice.warnings)
    assert any("several patients: Patient ID of series 2" in warning for warning in choice.warnings)
