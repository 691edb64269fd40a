"""Stand-ins for the seams of the DICOM edge, for tests and trials."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RawDataStorage

from dicom_node.errors import DeliveryError, ResultMismatch
from dicom_node.result_kinds import DEFAULT_KINDS
from dicom_node.values import Arrival, ResultContent, ResultKind, WrittenResult


class RecordingObserver:
    """An ArrivalObserver that records its calls in order: `opened`, `arrivals`, `closed`."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.arrivals: list[tuple[str, Arrival]] = []
        self.closed: list[str] = []

    def association_opened(self, association_id: str) -> None:
        """A peer connected."""
        self.opened.append(association_id)

    def arrived(self, association_id: str, arrival: Arrival) -> None:
        """An instance is on disk."""
        self.arrivals.append((association_id, arrival))

    def association_closed(self, association_id: str) -> None:
        """The peer is gone."""
        self.closed.append(association_id)


class FakeDestination:
    """A Destination that keeps results: `delivered` has one tuple for each successful send.

    `failures` are raised by the sends to come, one each, before it works (again); `echo` raises the
    next one without using it up. `refusal` is what `negotiate` raises. A successful send answers
    `how`.
    """

    def __init__(
        self,
        name: str = "pacs",
        failures: Sequence[Exception] = (),
        kinds: Collection[ResultKind] = DEFAULT_KINDS,
        refusal: DeliveryError | None = None,
    ) -> None:
        self._name, self._refusal = name, refusal
        self.kinds = kinds
        self.failures = list(failures)
        self.how = ""
        self.delivered: list[tuple[WrittenResult, ...]] = []

    @property
    def name(self) -> str:
        """Name in configuration and in the record."""
        return self._name

    def echo(self) -> None:
        """Answers unless the next send would fail."""
        if self.failures:
            raise self.failures[0]

    def negotiate(self) -> None:
        """Agrees to store unless there is a `refusal`."""
        if self._refusal:
            raise self._refusal

    def send(self, results: Sequence[WrittenResult]) -> str:
        """Take `results`, or raise the next of `failures`."""
        if self.failures:
            raise self.failures.pop(0)
        self.delivered.append(tuple(results))
        return self.how


class FakeResultWriter:
    """A ResultWriter whose objects say the labels of what was found, and nothing else.

    `checked` are the files it was asked to check; `mismatch` is what a check raises.
    """

    kind = ResultKind.SEG
    file_name = "fake.dcm"

    def __init__(self, mismatch: ResultMismatch | None = None) -> None:
        self.mismatch = mismatch
        self.checked: list[Path] = []

    def applies(self, content: ResultContent) -> bool:
        """Wherever a structure was found."""
        return bool(content.segments)

    def write(
        self,
        content: ResultContent,
        earlier: Sequence[WrittenResult],  # noqa: ARG002 - the signature of ResultWriter
    ) -> Dataset:
        """A data set with the labels as its Content Description."""
        result = Dataset()
        result.SOPClassUID, result.SOPInstanceUID = RawDataStorage, "2.25.1"
        result.SeriesInstanceUID = "2.25.2"
        result.ContentDescription = ", ".join(segment.label for segment in content.segments)
        result.file_meta = FileMetaDataset()
        result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        result.file_meta.MediaStorageSOPClassUID = result.SOPClassUID
        result.file_meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
        return result

    def check(
        self,
        path: Path,
        content: ResultContent,  # noqa: ARG002 - the signature of ResultWriter
        earlier: Sequence[WrittenResult],  # noqa: ARG002 - the signature of ResultWriter
    ) -> None:
        """Note the file, and raise `mismatch` if there is one."""
        self.checked.append(path)
        if self.mismatch is not None:
            raise self.mismatch
