"""The table of services against the dictionary of the standard."""

from __future__ import annotations

import pytest
from pydicom._uid_dict import UID_dictionary

from dicom_node.receive.upper_layer.services import VERIFICATION, is_storage


def test_the_standards_storage_classes_are_known_and_nothing_else_of_it_is() -> None:
    stored = {
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class" and "Storage" in name and "Commitment" not in name
    }

    assert {uid for uid in UID_dictionary if is_storage(uid)} == stored
    assert len(stored) > 150
    assert not is_storage(VERIFICATION)


@pytest.mark.parametrize(
    "uid", ["1.2.840.10008.5.1.4.1.1.999.1", "1.2.826.0.1.3680043.9.9999.1", "1.3.46.670589.5.0.1"]
)
def test_classes_that_nobody_knows_are_stored(uid: str) -> None:
    assert is_storage(uid)
