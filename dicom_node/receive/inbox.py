"""Where arriving instances are kept, exactly as sent: `root/<study>/<series>/<SOP instance>.dcm`.

When `keep` returns, the instance survives a power cut: the file is written under a temporary name
on the same file system, given its name and fsynced, and so is its folder, where the file system
does not put the name on disk with the file. The temporary name goes last: a file that has both
names after a crash may not have come to its fsync, and is held against its SHA-256. Names are given
by link(2), which fails where the name is taken, so two associations that bring the same UID at once
cannot replace one another. The disk is the truth: nothing is remembered but which folders this
process has seen made.
"""

from __future__ import annotations

import itertools
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.arrivals import Arrival, KeptAs, StoredInstance, StoreRequest
from dicom_node.errors import InboxError, UnreadableDataset, WrongUids
from dicom_node.log_text import quoted
from dicom_node.receive.dataset_uids import DatasetUids, dataset_uids, is_uid
from dicom_node.receive.disk import (
    FreeSpace,
    disk_errors,
    names_go_with_files,
    sync_file,
    sync_folder,
)
from dicom_node.receive.incoming import BlockPool, IncomingDataset
from dicom_node.receive.part10 import FileMeta, is_whole, read_meta

logger = logging.getLogger(__name__)

_INCOMING = ".incoming"
_CONFLICT = ".conflict-"
_MOST_KNOWN_FOLDERS = 1000


class Inbox:
    """Instances on disk. Any number of threads may store, any number of processes read.

    `root` is made if it is not there, readable by its owner alone. Below `minimum_free_bytes` on
    its file system nothing more is taken. `now` gives the time of arrival.
    """

    def __init__(
        self,
        root: Path,
        minimum_free_bytes: int = 0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._root = root
        self._incoming = root / _INCOMING
        self._now = now
        self._blocks = BlockPool()
        self._free_space = FreeSpace(root, minimum_free_bytes)
        self._known_folders: set[Path] = set()
        # half-written files carry their process's number: when it has died, they are known by that
        self._names, self._number = f"{os.getpid()}-{uuid.uuid4().hex}-", itertools.count()
        with disk_errors():
            for folder in (root, self._incoming):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._names_go_with_files = names_go_with_files(root)

    def place(self) -> tuple[Path, int]:
        """Root and watermark: another process can open the same inbox with them."""
        return self._root, self._free_space.minimum_free_bytes

    def begin(self, request: StoreRequest) -> IncomingDataset:
        """Open the place into which the data set of a request is written as it comes.

        The caller discards it at the end, whatever happens.

        UnreadableDataset when the request does not name an instance that can be filed.
        """
        for name, uid in (("Instance", request.sop_instance_uid), ("Class", request.sop_class_uid)):
            if not is_uid(uid):
                raise UnreadableDataset(f"the request has no usable SOP {name} UID")
        path = self._incoming / f"{self._names}{next(self._number)}"
        return IncomingDataset(request, path, self._free_space.reserve, self._blocks)

    def keep(self, incoming: IncomingDataset) -> Arrival:
        """Keep a whole data set for good, and only then return.

        The same bytes again change nothing; other bytes under the same SOP Instance UID are kept
        beside the first. Raises UnreadableDataset, WrongUids, StorageFull or InboxError.
        """
        request = incoming.request
        with incoming.dataset() as dataset:
            uids = dataset_uids(dataset, request.transfer_syntax_uid)
        _check_uids(uids, request)
        folder = self._root / uids.study_instance_uid / uids.series_instance_uid
        with disk_errors():
            path, kept_as = self._keep(incoming, folder)
            if not self._names_go_with_files:
                sync_folder(folder)
        instance = StoredInstance(
            path=path,
            study_instance_uid=uids.study_instance_uid,
            series_instance_uid=uids.series_instance_uid,
            sop_instance_uid=request.sop_instance_uid,
            sop_class_uid=request.sop_class_uid,
            sha256=incoming.sha256(),
        )
        return Arrival(
            instance, kept_as, request.calling_ae_title, request.calling_address, self._now()
        )

    def store(self, dataset: bytes | memoryview, request: StoreRequest) -> Arrival:
        """Keep a data set that is in memory, as `begin` and `keep` do.

        Nothing is left on disk when it raises.
        """
        incoming = self.begin(request)
        try:
            incoming.write(dataset)
            return self.keep(incoming)
        finally:
            incoming.discard()

    def studies(self) -> list[str]:
        """Study Instance UIDs that have at least one instance, sorted."""
        return [uid for uid, _ in self.counted_studies()]

    def counted_studies(self) -> Iterator[tuple[str, int]]:
        """Study Instance UIDs, sorted, each with how many files it has, conflicts included.

        Studies without a file are left out.

        Folders are listed, no file is opened: a million instances take seconds.
        """
        with os.scandir(self._root) as entries:
            uids = sorted(entry.name for entry in entries if is_uid(entry.name))
        for uid in uids:
            if files := self.count_files(uid):
                yield uid, files

    def count_files(self, study_instance_uid: str) -> int:
        """How many files a study has, conflicts included; 0 for a study that is not here."""
        if not is_uid(study_instance_uid):
            return 0
        folder = self._root / study_instance_uid
        return sum(name.endswith(".dcm") for series in _listed(folder) for name in _names(series))

    def instances(self, study_instance_uid: str) -> list[StoredInstance]:
        """What a study consists of, sorted by path; empty for a study that is not here."""
        return _stored(self._root, study_instance_uid, conflicts=False)

    def conflicts(self, study_instance_uid: str) -> list[StoredInstance]:
        """What came under a SOP Instance UID of other content: kept, but no part of the study."""
        return _stored(self._root, study_instance_uid, conflicts=True)

    def sweep(self, process_id: int | None = None) -> int:
        """Remove what a crash of one process, or of any, left half-written; the number of files.

        It is called only while those processes store nothing.
        """
        prefix = "" if process_id is None else f"{process_id}-"
        leftovers = [path for path in self._incoming.iterdir() if path.name.startswith(prefix)]
        for path in leftovers:
            _settle(self._root, path)
            path.unlink(missing_ok=True)
        if leftovers:
            logger.warning("removed %d half-written files of an earlier run", len(leftovers))
        return len(leftovers)

    def free_bytes(self) -> int:
        """Room left on the inbox's file system for users that are not root."""
        return self._free_space.free_bytes()

    def _keep(self, incoming: IncomingDataset, folder: Path) -> tuple[Path, KeptAs]:
        """Put the bytes under the first free one of two names, unless one has them already."""
        uid, digest = incoming.request.sop_instance_uid, incoming.sha256()
        path, aside = folder / f"{uid}.dcm", folder / f"{uid}{_CONFLICT}{digest[:12]}.dcm"
        if present := next((name for name in (path, aside) if _digest_at(name) == digest), None):
            # another association may have written it just now and not have come to its fsync
            sync_file(present)
            return present, KeptAs.SAME
        self._make_durably(folder)
        temporary = incoming.written()
        for name, kept_as in ((path, KeptAs.NEW), (aside, KeptAs.CONFLICT)):
            with suppress(FileExistsError):
                self._link(temporary, name)
                _sync_or_take_back(incoming, name)
                return name, kept_as
            if _digest_at(name) == digest:  # another association was faster with the same
                sync_file(name)
                return name, KeptAs.SAME
        raise InboxError(f"both names of instance {quoted(uid)} are taken by other content")

    def _link(self, temporary: Path, name: Path) -> None:
        """Give a file its name, also where its folder was removed since it was last seen."""
        try:
            name.hardlink_to(temporary)
        except FileNotFoundError:
            self._known_folders.discard(name.parent)
            self._make_durably(name.parent)
            name.hardlink_to(temporary)

    def _make_durably(self, folder: Path) -> None:
        """Make a series' folder and its study's, with their entries on disk.

        Also where another thread has just made them: it may not have come to its fsync yet. Once a
        folder holds something, whoever put that there had come to it.
        """
        if folder in self._known_folders:
            return
        for child in (folder.parent, folder):
            if _is_empty(child):
                child.mkdir(mode=0o700, exist_ok=True)
                sync_folder(child.parent)
        if len(self._known_folders) >= _MOST_KNOWN_FOLDERS:
            self._known_folders.clear()
        self._known_folders.add(folder)


def _sync_or_take_back(incoming: IncomingDataset, name: Path) -> None:
    """Put a file that was just linked on disk; where that fails nothing of it is left."""
    try:
        incoming.sync()
    except BaseException:
        name.unlink(missing_ok=True)
        raise


def _settle(root: Path, leftover: Path) -> None:
    """Take back the name of a file that had not come to its fsync and is not what it should be."""
    with suppress(FileNotFoundError):
        state = leftover.stat()
        if state.st_nlink < 2:
            return
        if is_whole(leftover):
            sync_file(leftover)
            return
        for name in _names_of(root, state.st_ino):
            logger.warning(
                "%s is not whole since a crash and is removed: no peer was told that it is here",
                name,
            )
            name.unlink()


def _names_of(root: Path, inode: int) -> Iterator[Path]:
    """The names of a file within the inbox's studies."""
    for study in filter(is_uid, _names(str(root))):
        for series in _listed(root / study):
            with suppress(NotADirectoryError), os.scandir(series) as entries:
                yield from (Path(entry.path) for entry in entries if entry.inode() == inode)


def _stored(root: Path, study_instance_uid: str, *, conflicts: bool) -> list[StoredInstance]:
    """Files of a study of one of both kinds, described from their own file meta."""
    if not is_uid(study_instance_uid):
        return []
    stored = []
    for path in sorted((root / study_instance_uid).glob("*/*.dcm")):
        if (_CONFLICT in path.name) != conflicts:
            continue
        try:
            meta = read_meta(path)
        except UnreadableDataset as error:
            logger.warning("%s is no instance and is left out: %s", path, error)
            continue
        stored.append(_described(path, meta))
    return stored


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


def _check_uids(uids: DatasetUids, request: StoreRequest) -> None:
    """The data set must be the instance that its request names.

    Where it has no SOP UIDs of its own, those of the request hold.
    """
    if uids.sop_instance_uid not in {"", request.sop_instance_uid}:
        raise WrongUids("data set and request differ in SOP Instance UID")
    if uids.sop_class_uid not in {"", request.sop_class_uid}:
        raise WrongUids("data set and request differ in SOP Class UID")


def _digest_at(path: Path) -> str:
    """SHA-256 of the data set in a file of the inbox; empty where there is none."""
    try:
        return read_meta(path).sha256
    except (FileNotFoundError, UnreadableDataset):
        return ""


def _listed(folder: Path) -> list[str]:
    """Paths of a folder's entries; none where there is no folder."""
    try:
        return [str(path) for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _names(folder: str) -> list[str]:
    """Names of a folder's entries; none where it is no folder."""
    try:
        # a Path for each of a million names would take most of the time
        return os.listdir(folder)  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_empty(folder: Path) -> bool:
    """Whether a folder is missing or has no entry yet."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except FileNotFoundError:
        return True
