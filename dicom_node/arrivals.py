"""What the receiving side tells of an instance it keeps, and what its peer said of it.

It imports the standard library alone, because every receiver's process loads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path


@dataclass(frozen=True)
class StoredInstance:
    """An instance in the inbox: where, and the UIDs it is filed under.

    `sha256` is that of the data set's bytes.
    """

    path: Path
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    sha256: str


class KeptAs(StrEnum):
    """What became of an arriving instance."""

    NEW = "new"
    SAME = "same"  # the same bytes were here already: nothing changed
    # the same SOP Instance UID with other content: kept apart, beside the first
    CONFLICT = "conflict"


@dataclass(frozen=True)
class Arrival:
    """One C-STORE, accepted and on disk."""

    instance: StoredInstance
    kept_as: KeptAs
    calling_ae_title: str
    calling_address: str
    arrived_at: datetime


@dataclass(frozen=True)
class StoreRequest:
    """What a C-STORE request says of its instance: UIDs, encoding, sender and receiver."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str = ""
    calling_address: str = ""
    called_ae_title: str = ""
