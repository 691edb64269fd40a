"""What the disk holds of a study, as headers: the inbox is the truth, the record its index."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from dicom_node.errors import UnreadableDataset
from dicom_node.values import InstanceHeader, StoredInstance
from server.traces import bare_trace

logger = logging.getLogger(__name__)

WHOLE = "the whole data set"
"""The fault of an instance of which nothing could be used."""


class Stored(Protocol):
    """The part of dicom_node.receive.inbox.Inbox that reads."""

    def counted_studies(self) -> Iterator[tuple[str, int]]:
        """Study Instance UIDs on disk, each with how many files its folders hold.

        No file is opened.
        """

    def count_files(self, study_instance_uid: str) -> int:
        """How many files the folders of a study hold; no file is opened."""

    def instances(self, study_instance_uid: str) -> list[StoredInstance]:
        """What a study consists of."""

    def conflicts(self, study_instance_uid: str) -> list[StoredInstance]:
        """What came under a SOP Instance UID already taken."""


@dataclass(frozen=True)
class StoredStudyReader:
    """The inbox with `read_header` (dicom_node.series.header): stored instances as headers."""

    stored: Stored
    read_header: Callable[[Path], InstanceHeader]

    def headers(
        self,
        study_instance_uid: str,
        indexed: Collection[tuple[str, str]] = (),
        *,
        whatever: bool = False,
    ) -> Iterator[InstanceHeader]:
        """Headers of a study's instances but those `indexed` by (series, SOP instance) UID.

        What cannot be read is there all the same, with a fault and the reason. UIDs are those the
        instance is filed under. What may be read at the next try (the disk failed) raises, unless
        it shall be there `whatever` happens.
        """
        for instance in self.stored.instances(study_instance_uid):
            if (instance.series_instance_uid, instance.sop_instance_uid) not in indexed:
                yield self._header(instance, whatever)

    def _header(self, instance: StoredInstance, whatever: bool) -> InstanceHeader:
        try:
            header = self.read_header(instance.path)
        except UnreadableDataset as error:
            return _unreadable(instance, str(error))
        # one file's boundary at the study's last try: whatever it is, it hides no other instance
        except Exception as error:
            if not whatever:
                raise
            logger.warning("%s cannot be read: %s", instance.sop_instance_uid, bare_trace(error))
            return _unreadable(instance, "reading it failed each time; the log says where")
        # whatever its header says, an instance is what it is filed as
        return replace(
            header,
            study_instance_uid=instance.study_instance_uid,
            series_instance_uid=instance.series_instance_uid,
            sop_instance_uid=instance.sop_instance_uid,
            sop_class_uid=instance.sop_class_uid,
        )


def _unreadable(instance: StoredInstance, reason: str) -> InstanceHeader:
    """An instance of which only its place is known."""
    return InstanceHeader(
        path=instance.path,
        study_instance_uid=instance.study_instance_uid,
        series_instance_uid=instance.series_instance_uid,
        sop_instance_uid=instance.sop_instance_uid,
        sop_class_uid=instance.sop_class_uid,
        transfer_syntax_uid="",
        faults=(WHOLE,),
        reason=reason,
    )
