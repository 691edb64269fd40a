"""Files with bytes overwritten or cut off: each study becomes a volume or a sentence, never another
exception.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dicom_node.errors import DicomNodeError, NotAVolume
from dicom_node.series.choice import choose_series
from dicom_node.series.header import read_header
from dicom_node.volume.volume import load_volume
from tests.support import phantoms

SMALL: dict[str, Any] = {"shape": (3, 16, 16), "spacing_mm": (5.0, 20.0, 20.0)}


def outcome(folder: Path) -> str:
    """What becomes of the study in a folder: its shape, or the sentence that refuses it."""
    headers = []
    for path in sorted(folder.iterdir()):
        try:
            headers.append(read_header(path))
        except DicomNodeError:
            continue
    try:
        return str(load_volume(choose_series(headers).headers).intensities.shape)
    except NotAVolume as refused:
        return str(refused)


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
    ],
)
def test_any_damage_ends_in_a_volume_or_a_sentence(
    tmp_path: Path, syntax: UID, enhanced: bool
) -> None:
    phantom = phantoms.torso_ct(tmp_path, transfer_syntax_uid=syntax, enhanced=enhanced, **SMALL)
    damaged = phantom.paths[0]
    whole = damaged.read_bytes()
    dice = random.Random(f"{syntax} {enhanced}")

    for _ in range(25):
        broken = bytearray(whole)
        for _ in range(dice.choice([1, 3, 20])):
            broken[dice.randrange(132, len(broken))] = dice.randrange(256)
        damaged.write_bytes(broken[: dice.choice([len(broken), dice.randrange(len(broken))])])

        assert len(outcome(tmp_path)) > 5


def test_numbers_of_the_wrong_length(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    whole = phantom.paths[1].read_bytes()
    rows = b"\x28\x00\x10\x00US\x02\x00\x10\x00"
    assert whole.count(rows) == 1
    phantom.paths[1].write_bytes(whole.replace(rows, b"\x28\x00\x10\x00US\x03\x00\x10\x00\x00"))

    assert "Rows is missing or unreadable in instance 2" in outcome(tmp_path)


def test_a_functional_group_of_no_known_representation(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, enhanced=True, **SMALL)
    whole = phantom.paths[0].read_bytes()
    measures = b"\x28\x00\x10\x91SQ"
    assert whole.count(measures) == 1
    phantom.paths[0].write_bytes(whole.replace(measures, b"\x28\x00\x10\x91S?"))

    assert "instance 1" in outcome(tmp_path)


def test_a_file_meta_of_no_known_representation(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    whole = phantom.paths[0].read_bytes()
    class_uid = b"\x02\x00\x02\x00UI"
    assert whole.count(class_uid) == 1
    phantom.paths[0].write_bytes(whole.replace(class_uid, b"\x02\x00\x02\x00U?"))

    assert len(outcome(tmp_path)) > 5
