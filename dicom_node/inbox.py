"""Where arriving instances are kept: `root/<study>/<series>/<SOP instance>.dcm`, exactly as they were sent.

When `store` returns, the instance survives a power cut: the file is written under a temporary name on the same file system,
fsynced, given its name and its folder fsynced. Names are given by link(2), which fails where the name is taken, so two
associations that bring the same UID at once cannot replace one another. The disk is the truth: nothing is remembered.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.errors import InboxError, StorageFull, UnreadableDataset, WrongUids
from dicom_node.part10 import FileMeta, encode_head, read_meta
from dicom_node.peek import Head, is_uid, peek
from dicom_node.values import Arrival, KeptAs, StoredInstance

logger = logging.getLogger(__name__)

# A file system that is full, a user over quota, a file larger than the volume or the process may write
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_INCOMING = ".incoming"
_CONFLICT = ".conflict-"


@dataclass(frozen=True)
class Sent:
    """What a peer's request said of the instance it carried: its UIDs, its encoding, who sent it to whom."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str = ""
    calling_address: str = ""
    called_ae_title: str = ""


class Inbox:
    """Instances on disk. Any number of threads may store, any number of processes read.

    `root` is made if it is not there, readable by its owner alone. Below `minimum_free_bytes` on its file system nothing
    more is taken. `now` gives the time of arrival.
    """

    def __init__(
        self,
        root: Path,
        minimum_free_bytes: int = 0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._root = root
        self._incoming = root / _INCOMING
        self._minimum_free_bytes = minimum_free_bytes
        self._now = now
        with _disk():
            for folder in (root, self._incoming):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def store(self, dataset: bytes | memoryview, sent: Sent) -> Arrival:
        """Keep a data set's bytes for good, and only then return.

        The same bytes again change nothing; other bytes under the same SOP Instance UID are kept beside the first.
        Raises UnreadableDataset, WrongUids, StorageFull or InboxError; then nothing of it is left on disk.
        """
        head = peek(dataset, sent.transfer_syntax_uid)
        _check_uids(head, sent)
        digest = hashlib.sha256(dataset).hexdigest()
        folder = self._root / head.study_instance_uid / head.series_instance_uid
        with _disk():
            self._check_room(len(dataset))
            path, kept_as = self._keep(dataset, sent, folder, digest)
            _sync(folder)
        instance = StoredInstance(
            path=path,
            study_instance_uid=head.study_instance_uid,
            series_instance_uid=head.series_instance_uid,
            sop_instance_uid=sent.sop_instance_uid,
            sop_class_uid=sent.sop_class_uid,
            sha256=digest,
        )
        return Arrival(instance, kept_as, sent.calling_ae_title, sent.calling_address, self._now())

    def studies(self) -> list[str]:
        """Study Instance UIDs that have at least one instance, sorted."""
        folders = (path for path in self._root.iterdir() if is_uid(path.name))
        return sorted(folder.name for folder in folders if any(folder.glob("*/*.dcm")))

    def instances(self, study_instance_uid: str) -> list[StoredInstance]:
        """What a study consists of, sorted by path; empty for a study that is not here."""
        return self._stored(study_instance_uid, conflicts=False)

    def conflicts(self, study_instance_uid: str) -> list[StoredInstance]:
        """What came under a SOP Instance UID that other content already had: kept, but no part of the study."""
        return self._stored(study_instance_uid, conflicts=True)

    def sweep(self) -> int:
        """Remove what a crash left half-written and return how many files. Only while nothing is being stored."""
        leftovers = list(self._incoming.iterdir())
        for path in leftovers:
            path.unlink()
        if leftovers:
            logger.warning("removed %d half-written files of an earlier run", len(leftovers))
        return len(leftovers)

    def free_bytes(self) -> int:
        """Room left on the inbox's file system for users that are not root."""
        volume = os.statvfs(self._root)
        return volume.f_bavail * volume.f_frsize

    def _keep(
        self, dataset: bytes | memoryview, sent: Sent, folder: Path, digest: str
    ) -> tuple[Path, KeptAs]:
        """Put the bytes under the first free one of their two possible names, unless they have one already."""
        uid = sent.sop_instance_uid
        path, aside = folder / f"{uid}.dcm", folder / f"{uid}{_CONFLICT}{digest[:12]}.dcm"
        if known := next((p for p in (path, aside) if _digest_at(p) == digest), None):
            return known, KeptAs.SAME
        meta = FileMeta(
            sop_class_uid=sent.sop_class_uid,
            sop_instance_uid=uid,
            transfer_syntax_uid=sent.transfer_syntax_uid,
            sha256=digest,
            calling_ae_title=sent.calling_ae_title,
            called_ae_title=sent.called_ae_title,
        )
        self._make_durably(folder)
        with self._temporary(encode_head(meta), dataset) as temporary:
            for name, kept_as in ((path, KeptAs.NEW), (aside, KeptAs.CONFLICT)):
                with suppress(FileExistsError):
                    name.hardlink_to(temporary)
                    return name, kept_as
                if _digest_at(name) == digest:  # another association was faster with the same
                    return name, KeptAs.SAME
        raise InboxError(f"both names of instance {uid} are taken by other content")

    @contextmanager
    def _temporary(self, head: bytes, dataset: bytes | memoryview) -> Iterator[Path]:
        """The whole file, on disk under a name that is gone afterwards."""
        path = self._incoming / uuid.uuid4().hex
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123  # by descriptor: it carries the mode
                file.write(head)
                file.write(dataset)
                file.flush()
                os.fsync(descriptor)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _make_durably(self, folder: Path) -> None:
        """Make a series' folder and its study's, with their entries on disk.

        Also where another thread has just made them: it may not have come to its fsync yet. Once a folder holds
        something, whoever put that there had come to it.
        """
        for child in (folder.parent, folder):
            if _is_empty(child):
                child.mkdir(mode=0o700, exist_ok=True)
                _sync(child.parent)

    def _check_room(self, size_bytes: int) -> None:
        """Refuse before writing what would take the volume below its watermark."""
        if self.free_bytes() - size_bytes < self._minimum_free_bytes:
            raise StorageFull("no room left on the storage volume")

    def _stored(self, study_instance_uid: str, *, conflicts: bool) -> list[StoredInstance]:
        """Files of a study of one of both kinds, described from their own file meta."""
        if not is_uid(study_instance_uid):
            return []
        found = []
        for path in sorted((self._root / study_instance_uid).glob("*/*.dcm")):
            if (_CONFLICT in path.name) != conflicts:
                continue
            try:
                meta = read_meta(path)
            except UnreadableDataset as error:
                logger.warning("%s is no instance and is left out: %s", path, error)
                continue
            found.append(_described(path, meta))
        return found


def _described(path: Path, meta: FileMeta) -> StoredInstance:
    """The instance in a file of the inbox: its folders name study and series."""
    return StoredInstance(
        path=path,
        study_instance_uid=path.parent.parent.name,
        series_instance_uid=path.parent.name,
        sop_instance_uid=meta.sop_instance_uid,
        sop_class_uid=meta.sop_class_uid,
        sha256=meta.sha256,
    )


def _check_uids(head: Head, sent: Sent) -> None:
    """The request must name an instance we can file, and the data set must be that instance.

    A data set without its own SOP UIDs is taken at its request's word.
    """
    for name, uid in (("SOP Instance", sent.sop_instance_uid), ("SOP Class", sent.sop_class_uid)):
        if not is_uid(uid):
            raise UnreadableDataset(f"the request has no usable {name} UID")
    if head.sop_instance_uid not in {"", sent.sop_instance_uid}:
        raise WrongUids("data set and request differ in SOP Instance UID")
    if head.sop_class_uid not in {"", sent.sop_class_uid}:
        raise WrongUids("data set and request differ in SOP Class UID")


def _digest_at(path: Path) -> str:
    """SHA-256 of the data set in a file of the inbox; empty where there is none."""
    try:
        return read_meta(path).sha256
    except (FileNotFoundError, UnreadableDataset):
        return ""


def _is_empty(folder: Path) -> bool:
    """Whether a folder is missing or has no entry yet."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except FileNotFoundError:
        return True


def _sync(folder: Path) -> None:
    """Put a folder's entries on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk() -> Iterator[None]:
    """Say what the operating system said in the inbox's own errors."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFull("no room left on the storage volume") from error
        raise InboxError(f"the storage volume failed: {error.strerror}") from error
