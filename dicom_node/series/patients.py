"""Whether images are of one patient, told without keeping who that is.

A header carries digests of what identifies the patient, salted with the study: they compare images
of one study and say nothing by themselves. Two images are of two patients where Patient ID, Issuer
of Patient ID, Patient's Name or Patient's Birth Date are given in both and differ. Not told apart
by: what one of them leaves out, upper and lower case, accents, spaces, carets and other marks
between the words of a name, another script of it (PS3.5 6.2.1), marks within a date.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

from dicom_node.errors import NotAVolume
from dicom_node.series.multiframe import named_headers
from dicom_node.values import InstanceHeader, PatientDigests

_DIGEST_BYTES = 8
#: Field of PatientDigests -> the attribute's name in PS3.6.
_NAMES = {
    "identifier": "Patient ID",
    "issuer": "Issuer of Patient ID",
    "name": "Patient's Name",
    "birth_date": "Patient's Birth Date",
}


def patient_digests(
    salt: str, *, identifier: str, issuer: str, name: str, birth_date: str
) -> PatientDigests:
    """Digests of the patient's attributes as text; `salt` is the Study Instance UID.

    An empty attribute has an empty digest.
    """
    return PatientDigests(
        identifier=_digest(salt, "".join(identifier.casefold().split())),
        issuer=_digest(salt, "".join(issuer.casefold().split())),
        name=_digest(salt, _plain_name(name)),
        birth_date=_digest(salt, "".join(re.findall(r"\d", birth_date))),
    )


def differing(headers: Iterable[InstanceHeader]) -> tuple[str, ...]:
    """Names of the attributes that show several patients; none where there is one."""
    return _differing({header.patient for header in headers})


def by_patient(headers: Sequence[InstanceHeader]) -> list[list[InstanceHeader]]:
    """The images in groups, a patient each, in the order of their first members."""
    patients: list[set[PatientDigests]] = []
    for digests in dict.fromkeys(header.patient for header in headers):
        for patient in patients:
            if not _differing({*patient, digests}):
                patient.add(digests)
                break
        else:
            patients.append({digests})
    return [[header for header in headers if header.patient in patient] for patient in patients]


def refuse_several_patients(headers: Sequence[InstanceHeader]) -> None:
    """NotAVolume where the images of one series are of several patients.

    Its message names instances, and no patient.
    """
    attributes = differing(headers)
    if not attributes:
        return
    first, *others = by_patient(headers)
    rest = [header for patient in others for header in patient]
    raise NotAVolume(
        f"The series holds images of {len(others) + 1} patients: {_and(attributes)} differ between "
        f"{named_headers(first)} and "
        f"{named_headers(rest)}. Have the archive put them right, and send each patient's images "
        "as a series of its own."
    )


def _differing(patients: Collection[PatientDigests]) -> tuple[str, ...]:
    return tuple(
        name
        for field, name in _NAMES.items()
        if len({getattr(patient, field) for patient in patients} - {""}) > 1
    )


def _and(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _plain_name(name: str) -> str:
    """Words of the first component group of a name, without case and accents.

    The groups are alphabetic, ideographic and phonetic, in this order.
    """
    first = next((group for group in name.split("=") if re.search(r"\w", group)), "")
    letters = unicodedata.normalize("NFKD", first.casefold())
    unaccented = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(re.findall(r"[^\W_]+", unaccented))


def _digest(salt: str, text: str) -> str:
    if not text:
        return ""
    return hashlib.blake2b(
        f"{salt}\n{text}".encode("utf-8", "replace"), digest_size=_DIGEST_BYTES
    ).hexdigest()
