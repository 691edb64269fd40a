"""An instance is what it is filed as, and one that cannot be read is shown with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.errors import FaultyDataset, UnreadableDataset
from dicom_node.values import InstanceHeader, StoredInstance
from server.record.stored_studies import StoredStudyReader

FILED = ("1.2.3", "1.2.3.4", "1.2.3.4.5", "1.2.840.10008.5.1.4.1.1.2")


class OneInstance:
    """An inbox with one instance of one study."""

    def instances(self, study_instance_uid: str) -> list[StoredInstance]:
        return [StoredInstance(Path("/inbox/a.dcm"), *FILED, "ab")]


def uids(header: InstanceHeader) -> tuple[str, ...]:
    return (
        header.study_instance_uid,
        header.series_instance_uid,
        header.sop_instance_uid,
        header.sop_class_uid,
    )


def test_uids_are_those_an_instance_is_filed_under() -> None:
    def read(path: Path) -> InstanceHeader:
        return InstanceHeader(path, "9", "/tmp/elsewhere", "9.9", "9.9.9", "1.2.840.10008.1.2")

    (header,) = StoredStudyReader(OneInstance(), read).headers("1.2.3")  # type: ignore[arg-type]  # it has what is asked of it

    assert uids(header) == FILED
    assert header.transfer_syntax_uid == "1.2.840.10008.1.2"


@pytest.mark.parametrize("error", [UnreadableDataset, FaultyDataset])
def test_what_cannot_be_read_is_there_with_the_reason(error: type[UnreadableDataset]) -> None:
    def read(path: Path) -> InstanceHeader:
        raise error("reading it takes too much memory")

    (header,) = StoredStudyReader(OneInstance(), read).headers("1.2.3")  # type: ignore[arg-type]  # it has what is asked of it

    assert uids(header) == FILED
    assert header.faults == ("the whole data set",)
    assert header.reason == "reading it takes too much memory"
