"""A small archive that plays the PACS: it takes what it is sent and keeps it as received."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_node.receive.application_entity import ApplicationEntity
from dicom_node.receive.inbox import Inbox
from dicom_node.receive.listener import Listener
from dicom_node.receive.study_completeness import StudyWatch
from dicom_node.values import StoredInstance

AE_TITLE = "PACS"


class Archive:
    """An archive on a loopback port, a free one where `port` is 0.

    `received` reads its disk, so it tells only what is really kept.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._inbox = Inbox(folder)
        self._listener = Listener(
            ApplicationEntity(AE_TITLE), "127.0.0.1", port, self._inbox, StudyWatch()
        )

    @property
    def port(self) -> int:
        """The port it listens on while running."""
        return self._listener.port

    def received(self, study_instance_uid: str) -> list[StoredInstance]:
        """What it holds of a study."""
        return self._inbox.instances(study_instance_uid)

    @contextmanager
    def running(self) -> Iterator[Archive]:
        """Listen while the block runs."""
        with self._listener:
            yield self
