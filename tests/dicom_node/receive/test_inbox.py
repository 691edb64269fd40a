"""What the inbox promises: bytes as sent, whole or absent, never replaced."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from dicom_node.arrivals import Arrival, KeptAs, StoreRequest
from dicom_node.errors import FaultyDataset, InboxError, StorageFull, UnreadableDataset, WrongUids
from dicom_node.receive import disk
from dicom_node.receive.inbox import Inbox


def sent_as(dataset: Dataset, **changes: str) -> StoreRequest:
    values = {
        "sop_class_uid": CTImageStorage,
        "sop_instance_uid": str(dataset.SOPInstanceUID),
        "transfer_syntax_uid": ExplicitVRLittleEndian,
        "calling_ae_title": "MODALITY",
        "calling_address": "192.0.2.1",
        "called_ae_title": "SEGNODE",
    }
    return StoreRequest(**{**values, **changes})


def files(inbox_root: Path) -> list[str]:
    return sorted(str(p.relative_to(inbox_root)) for p in inbox_root.rglob("*") if p.is_file())


class Store:
    """Stores data sets in one inbox."""

    def __init__(self, root: Path, as_sent: Callable[..., bytes]) -> None:
        self.root, self.inbox, self._as_sent = root, Inbox(root), as_sent

    def __call__(self, dataset: Dataset, **changes: str) -> Arrival:
        return self.inbox.store(self._as_sent(dataset), sent_as(dataset, **changes))


@pytest.fixture
def store(tmp_path: Path, as_sent: Callable[..., bytes]) -> Store:
    return Store(tmp_path / "inbox", as_sent)


def test_an_instance_is_filed_by_its_uids_with_the_very_bytes(
    store: Store, ct: Callable[..., Dataset], as_sent: Callable[..., bytes]
) -> None:
    dataset = ct()

    arrival = store(dataset)

    path = (
        store.root
        / dataset.StudyInstanceUID
        / dataset.SeriesInstanceUID
        / f"{dataset.SOPInstanceUID}.dcm"
    )
    assert arrival.instance.path == path
    assert arrival.kept_as is KeptAs.NEW
    assert path.read_bytes().endswith(as_sent(dataset))
    assert dcmread(path).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert dcmread(path).PixelData == dataset.PixelData


def test_an_arrival_tells_who_sent_what_and_when(
    tmp_path: Path, ct: Callable[..., Dataset], as_sent: Callable[..., bytes]
) -> None:
    noon = datetime(2026, 5, 4, 12, tzinfo=UTC)
    inbox = Inbox(tmp_path / "inbox", now=lambda: noon)
    dataset = ct()

    arrival = inbox.store(as_sent(dataset), sent_as(dataset))

    assert arrival.calling_ae_title == "MODALITY"
    assert arrival.calling_address == "192.0.2.1"
    assert arrival.arrived_at == noon
    assert arrival.instance.sop_class_uid == CTImageStorage
    assert inbox.instances(dataset.StudyInstanceUID) == [arrival.instance]


def test_the_same_again_changes_nothing(store: Store, ct: Callable[..., Dataset]) -> None:
    dataset = ct()
    first = store(dataset)
    before = first.instance.path.stat()

    second = store(dataset, calling_ae_title="ANOTHER")

    assert second.kept_as is KeptAs.SAME
    assert second.instance == first.instance
    assert first.instance.path.stat().st_mtime_ns == before.st_mtime_ns
    assert len(files(store.root)) == 1


def test_other_content_under_the_same_uid_is_kept_apart(
    store: Store, ct: Callable[..., Dataset]
) -> None:
    dataset = ct()
    first = store(dataset)
    original = first.instance.path.read_bytes()
    dataset.PatientName = "Roe^Richard"

    second = store(dataset)
    again = store(dataset)

    assert second.kept_as is KeptAs.CONFLICT
    assert second.instance.path.name == (
        f"{dataset.SOPInstanceUID}.conflict-{second.instance.sha256[:12]}.dcm"
    )
    assert again.kept_as is KeptAs.SAME
    assert again.instance == second.instance
    assert first.instance.path.read_bytes() == original
    assert store.inbox.instances(dataset.StudyInstanceUID) == [first.instance]
    assert store.inbox.conflicts(dataset.StudyInstanceUID) == [second.instance]


@pytest.mark.parametrize("different", [False, True], ids=["same bytes", "different bytes"])
def test_many_at_once_under_one_uid_never_replace_one_another(
    store: Store, ct: Callable[..., Dataset], different: bool
) -> None:
    uids = {k: v for k, v in ct().items() if k in (0x00080018, 0x0020000D, 0x0020000E)}
    start = threading.Barrier(8)
    kept: list[KeptAs] = []

    def send(number: int) -> None:
        dataset = ct(InstanceNumber=number if different else 1)
        for element in uids.values():
            dataset[element.tag] = element
        start.wait()
        kept.append(store(dataset).kept_as)

    threads = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    study = store.inbox.studies()[0]
    assert kept.count(KeptAs.NEW) == 1
    assert kept.count(KeptAs.CONFLICT) == (7 if different else 0)
    assert len(store.inbox.instances(study)) == 1
    assert len(store.inbox.conflicts(study)) == (7 if different else 0)
    assert len(files(store.root)) == (8 if different else 1)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"sop_instance_uid": "1.2.3.4.5"}, WrongUids),
        ({"sop_class_uid": MRImageStorage}, WrongUids),
        ({"sop_instance_uid": ""}, UnreadableDataset),
        ({"sop_instance_uid": "../../../etc/passwd"}, UnreadableDataset),
        ({"sop_class_uid": "CT Image"}, UnreadableDataset),
    ],
)
def test_a_request_that_is_not_the_data_sets_is_refused_and_leaves_nothing(
    store: Store, ct: Callable[..., Dataset], changes: dict[str, str], error: type[InboxError]
) -> None:
    with pytest.raises(error):
        store(ct(), **changes)

    assert files(store.root) == []


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_data_set_without_a_place_is_refused_and_leaves_nothing(
    store: Store, ct: Callable[..., Dataset], keyword: str
) -> None:
    with pytest.raises(UnreadableDataset):
        store(ct(**{keyword: ""}))

    assert files(store.root) == []


def test_a_data_set_without_sop_uids_is_taken_at_its_requests_word(
    store: Store, ct: Callable[..., Dataset], as_sent: Callable[..., bytes]
) -> None:
    dataset = ct()
    request = sent_as(dataset)
    del dataset.SOPInstanceUID, dataset.SOPClassUID

    arrival = store.inbox.store(as_sent(dataset), request)

    assert arrival.instance.path.name == f"{request.sop_instance_uid}.dcm"


@pytest.mark.filterwarnings("ignore")  # pydicom warns of what this test writes on purpose
@pytest.mark.parametrize(
    "elements",
    [
        {"SpecificCharacterSet": "ISO_IR 999"},
        {"PixelData": b"\0\0"},
        {"Rows": None},
        {"StudyDate": "yesterday"},
    ],
    ids=["unknown character set", "truncated pixels", "no rows", "bad date"],
)
def test_what_is_odd_but_can_be_kept_is_kept(
    store: Store, ct: Callable[..., Dataset], elements: dict[str, object]
) -> None:
    assert store(ct(**elements)).kept_as is KeptAs.NEW


def test_only_the_owner_can_read(store: Store, ct: Callable[..., Dataset]) -> None:
    umask = os.umask(0)
    try:
        path = store(ct()).instance.path
    finally:
        os.umask(umask)

    def mode(of: Path) -> int:
        return stat.S_IMODE(of.stat().st_mode)

    assert mode(path) == 0o600
    assert [mode(folder) for folder in list(path.parents)[:3]] == [0o700, 0o700, 0o700]


def test_below_the_watermark_nothing_is_taken(
    tmp_path: Path, ct: Callable[..., Dataset], as_sent: Callable[..., bytes]
) -> None:
    inbox = Inbox(tmp_path / "inbox", minimum_free_bytes=1 << 60)

    with pytest.raises(StorageFull, match="no room"):
        inbox.store(as_sent(dataset := ct()), sent_as(dataset))

    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EFBIG, StorageFull),
        (errno.EIO, InboxError),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "open"])
def test_a_disk_that_refuses_leaves_nothing(
    store: Store,
    ct: Callable[..., Dataset],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[InboxError],
    call: str,
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(error) as caught:
            store(ct())

    assert type(caught.value) is error
    assert files(store.root) == []


def test_what_a_crash_left_is_swept_and_what_is_stored_is_not(
    store: Store, ct: Callable[..., Dataset]
) -> None:
    arrival = store(ct())
    (store.root / ".incoming" / "half").write_bytes(b"half")

    removed = store.inbox.sweep()

    assert removed == 1
    assert files(store.root) == [str(arrival.instance.path.relative_to(store.root))]


def test_opening_the_inbox_elsewhere_leaves_what_is_being_written(store: Store) -> None:
    (store.root / ".incoming" / "being-written").write_bytes(b"half")

    Inbox(store.root)

    assert files(store.root) == [".incoming/being-written"]


def test_everything_is_found_again_from_the_disk(store: Store, ct: Callable[..., Dataset]) -> None:
    study = ct().StudyInstanceUID
    arrivals = [store(ct(StudyInstanceUID=study)) for _ in range(3)]
    other = store(ct())

    again = Inbox(store.root)

    assert again.studies() == sorted([study, other.instance.study_instance_uid])
    assert again.instances(study) == sorted(
        (a.instance for a in arrivals), key=lambda instance: instance.path
    )


def test_strange_files_in_the_inbox_are_left_out(
    store: Store, ct: Callable[..., Dataset], caplog: pytest.LogCaptureFixture
) -> None:
    arrival = store(ct())
    arrival.instance.path.with_name("note.dcm").write_text("not DICOM")
    (store.root / "lost+found").mkdir()
    (store.root / "1.2.3").mkdir()  # a study of which nothing arrived

    assert store.inbox.studies() == [arrival.instance.study_instance_uid]
    assert store.inbox.instances(arrival.instance.study_instance_uid) == [arrival.instance]
    assert "note.dcm" in caplog.text


@pytest.mark.parametrize("study", ["", "..", "1.2.3", "../outside"])
def test_a_study_that_is_not_here_has_no_instances(store: Store, study: str) -> None:
    assert store.inbox.instances(study) == []


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files and folders that were put on disk, in their order, a file under all the names it
    then had.
    """
    paths: list[Path] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        paths.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return paths


@pytest.mark.parametrize("journaled", [True, False])
def test_every_name_is_on_disk_before_store_returns(
    store: Store, ct: Callable[..., Dataset], synced: list[Path], *, journaled: bool
) -> None:
    store.inbox._names_go_with_files = journaled

    path = store(ct()).instance.path

    root, study, series = store.root, path.parent.parent, path.parent
    assert synced[:2] == [root, study]  # new folders, outermost first
    assert (
        synced[2].parent == root / ".incoming"
    )  # the file's bytes, and on some file systems its name
    assert synced[3:] == ([] if journaled else [series])


def test_a_file_has_its_name_before_it_is_put_on_disk(
    store: Store, ct: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: names.append(os.fstat(descriptor).st_nlink))

    store(ct())

    assert names[2] == 2  # fsync of one name alone would not bring the other with it


def test_the_same_again_is_put_on_disk_before_it_is_acknowledged(
    store: Store, ct: Callable[..., Dataset], synced: list[Path]
) -> None:
    dataset = ct()
    path = store(dataset).instance.path
    synced.clear()

    assert store(dataset).kept_as is KeptAs.SAME
    assert path in synced


def torn(store: Store, path: Path, keep_bytes: int | None) -> Path:
    """`path` as a crash before its fsync may leave it: with its temporary name still there, and cut
    off.
    """
    leftover = store.root / ".incoming" / "1-of-a-crash"
    leftover.hardlink_to(path)
    if keep_bytes is not None:
        os.truncate(path, keep_bytes)
    return leftover


@pytest.mark.parametrize("keep_bytes", [0, 100, 700, -1])
def test_a_file_that_a_crash_tore_is_removed_under_every_name(
    store: Store, ct: Callable[..., Dataset], caplog: pytest.LogCaptureFixture, keep_bytes: int
) -> None:
    whole, other = store(ct()).instance, store(ct()).instance
    size_bytes = whole.path.stat().st_size
    torn(store, whole.path, keep_bytes if keep_bytes >= 0 else size_bytes - 1)

    assert store.inbox.sweep() == 1

    assert files(store.root) == [str(other.path.relative_to(store.root))]
    assert "is not whole since a crash" in caplog.text


def test_a_file_that_is_whole_after_a_crash_stays(store: Store, ct: Callable[..., Dataset]) -> None:
    path = store(ct()).instance.path
    torn(store, path, None)

    assert store.inbox.sweep() == 1

    assert files(store.root) == [str(path.relative_to(store.root))]


@pytest.mark.parametrize(
    ("kinds", "journaled"),
    [
        (["ext4"], True),
        (["xfs"], True),
        (["btrfs"], False),
        (["overlay", "ext4"], False),
        ([], False),
    ],
)
def test_only_known_file_systems_put_names_on_disk_with_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kinds: list[str], *, journaled: bool
) -> None:
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = tmp_path / "mountinfo"
    lines = [f"36 35 {number} / /at rw shared:1 - {kind} /dev/x rw" for kind in kinds]
    mounts.write_text("\n".join(["35 1 999:0 / / rw - tmpfs tmpfs rw", *lines]))
    monkeypatch.setattr(disk, "_MOUNTS", mounts)

    assert disk.names_go_with_files(tmp_path) is journaled


def test_an_instance_of_two_series_is_refused_and_leaves_nothing(
    store: Store, ct: Callable[..., Dataset], as_sent: Callable[..., bytes]
) -> None:
    dataset = ct()
    second = b"\x20\x00\x0e\x00UI\x04\x001.2\0"

    with pytest.raises(FaultyDataset, match=r"two values of Series Instance UID \(0020,000E\)"):
        store.inbox.store(as_sent(dataset) + second, sent_as(dataset))

    assert files(store.root) == []
    assert store.inbox.studies() == []


def test_files_are_counted_without_being_opened(store: Store, ct: Callable[..., Dataset]) -> None:
    # Arrange: two studies; one of them has content kept apart and a file that is no instance, too
    dataset = ct(StudyInstanceUID="1.2.9")
    one, other = store(ct()).instance, store(dataset).instance
    dataset.PatientName = "Roe^Richard"
    store(dataset)
    other.path.with_name("half.dcm").write_bytes(b"no DICOM")
    other.path.with_name("note.txt").write_bytes(b"")

    # Act, Assert
    counted = dict(store.inbox.counted_studies())
    assert counted == {one.study_instance_uid: 1, "1.2.9": 3}
    assert store.inbox.count_files("1.2.9") == 3
    assert store.inbox.count_files("1.2.3") == store.inbox.count_files("../..") == 0
