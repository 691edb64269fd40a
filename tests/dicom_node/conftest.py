"""A listener on a free port, peers that send to it, and data sets as the bytes that travel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from dicom_node.fakes import RecordingObserver
from dicom_node.receive.allowed import AllowedPeers
from dicom_node.receive.application_entity import ApplicationEntity
from dicom_node.receive.inbox import Inbox
from dicom_node.receive.limits import PeerLimits
from dicom_node.receive.listener import Listener
from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.writers import write_result
from dicom_node.series.header import read_header
from dicom_node.values import (
    Algorithm,
    Code,
    ResultContent,
    ResultIdentity,
    ResultSegment,
    SourceVolume,
)
from dicom_node.volume.volume import load_volume
from dicom_node.voxels import Voxels
from tests.support import phantoms
from tests.support.dicom.scaled_series import SMALL

_ENCODINGS = {  # implicit VR, little endian, deflated
    ImplicitVRLittleEndian: (True, True, False),
    ExplicitVRBigEndian: (False, False, False),
    DeflatedExplicitVRLittleEndian: (False, True, True),
}


@pytest.fixture
def ct() -> Callable[..., Dataset]:
    """A small CT data set with fresh UIDs; keywords set or (None) remove elements."""

    def build(**elements: Any) -> Dataset:
        dataset = Dataset()
        dataset.SOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID = generate_uid()
        dataset.SeriesInstanceUID = generate_uid()
        dataset.Modality = "CT"
        dataset.PatientName = "Doe^Jane"
        dataset.InstanceNumber = 1
        dataset.Rows = dataset.Columns = 16
        dataset.BitsAllocated = 16
        dataset.PixelData = bytes(range(256)) * 2
        for keyword, value in elements.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        return dataset

    return build


@pytest.fixture
def as_sent() -> Callable[..., bytes]:
    """The bytes of a data set in an uncompressed or deflated transfer syntax."""

    def build(dataset: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
        encoded = encode(dataset, *_ENCODINGS.get(UID(transfer_syntax), (False, True, False)))
        assert encoded is not None
        return encoded

    return build


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    """An empty inbox."""
    return Inbox(tmp_path / "inbox")


@pytest.fixture
def observer() -> RecordingObserver:
    """Remembers what the listener told."""
    return RecordingObserver()


@pytest.fixture(params=[False, True], ids=["our path", "pynetdicom"])
def reference(request: pytest.FixtureRequest) -> bool:
    """Whether pynetdicom serves everything: both ways are held to the same."""
    return bool(request.param)


@pytest.fixture
def listening(
    inbox: Inbox, observer: RecordingObserver, reference: bool
) -> Iterator[Callable[..., Listener]]:
    """Starts listeners named SEGNODE on the loopback and stops them after the test."""
    started: list[Listener] = []

    def start(**options: Any) -> Listener:
        arguments = options.pop("inbox", inbox), options.pop("observer", observer)
        node = ApplicationEntity(
            "SEGNODE", AllowedPeers.of(options.pop("allow", ())), reference=reference, **options
        )
        listener = Listener(node, "127.0.0.1", 0, *arguments)
        listener.start()
        started.append(listener)
        return listener

    yield start
    for listener in started:
        listener.stop()


@pytest.fixture
def impatient() -> PeerLimits:
    """Limits that a test can wait for."""
    return PeerLimits(request_timeout_s=0.5, idle_timeout_s=0.5, stall_timeout_s=0.5)


class Sender:
    """An SCU that puts bytes on the wire exactly as given."""

    def __init__(self, association: Any) -> None:
        self.association = association
        self._messages = 0

    def put(self, data: bytes, sop_instance_uid: str, sop_class_uid: str = CTImageStorage) -> None:
        """Send a C-STORE request and do not wait."""
        contexts = self.association.accepted_contexts
        context = next(c for c in contexts if c.abstract_syntax == sop_class_uid)
        request = C_STORE()
        self._messages += 1
        request.MessageID = self._messages
        request.AffectedSOPClassUID = sop_class_uid
        request.AffectedSOPInstanceUID = sop_instance_uid
        request.Priority = 2
        request.DataSet = BytesIO(data)
        self.association._reactor_checkpoint.clear()
        while not self.association._is_paused:
            time.sleep(0.001)  # its thread tells nobody that it has stopped
        self.association.dimse.send_msg(request, context.context_id)

    def store(self, data: bytes, sop_instance_uid: str, sop_class_uid: str = CTImageStorage) -> Any:
        """Send a C-STORE request and return the response."""
        self.put(data, sop_instance_uid, sop_class_uid)
        _, response = self.association.dimse.get_msg(block=True)
        self.association._reactor_checkpoint.set()
        return response


@pytest.fixture
def sending() -> Callable[..., AbstractContextManager[Sender]]:
    """Opens an association to a port, for SOP classes in one transfer syntax."""

    @contextmanager
    def associate(
        port: int,
        *sop_classes: str,
        transfer_syntax: str = ExplicitVRLittleEndian,
        calling: str = "MODALITY",
        called: str = "SEGNODE",
    ) -> Iterator[Sender]:
        entity = AE(calling)
        entity.dimse_timeout = 20
        for sop_class in sop_classes or (CTImageStorage,):
            entity.add_requested_context(sop_class, transfer_syntax)
        association = entity.associate("127.0.0.1", port, ae_title=called)
        try:
            yield Sender(association)
        finally:
            if association.is_established:
                association.release()

    return associate


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Waits until something becomes true, or fails."""

    def wait(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, "it never became true"
            time.sleep(0.02)  # any condition at all: there is nothing in common to wait on

    return wait


@pytest.fixture(scope="session")
def algorithm() -> Algorithm:
    """What drew, with a hash that is none."""
    return Algorithm("litemedsam", "0.1.1", ("ab" * 32,))


@pytest.fixture(scope="session")
def identity() -> ResultIdentity:
    """One request on the first version of a study."""
    return ResultIdentity("request-1", 1, datetime(2026, 1, 3, 12, 30, tzinfo=UTC))


@pytest.fixture(scope="session")
def volume_of() -> Callable[[Any], SourceVolume]:
    """A phantom, or any folder of files, as the volume that a request would work on."""

    def load(source: Path | phantoms.Phantom) -> SourceVolume:
        paths = sorted(source.iterdir()) if isinstance(source, Path) else source.paths
        return load_volume([read_header(path) for path in paths])

    return load


_LEFT, _RIGHT = Code("7771000", "SCT", "Left"), Code("24028007", "SCT", "Right")
_TYPES = {
    "liver": Code("10200004", "SCT", "Liver"),
    "spleen": Code("78961009", "SCT", "Spleen"),
    "stomach": Code("69695003", "SCT", "Stomach"),
    "aorta": Code("15825003", "SCT", "Aorta"),
    "kidney": Code("64033007", "SCT", "Kidney"),
    "spine": Code("421060004", "SCT", "Vertebral column"),
}


@pytest.fixture(scope="session")
def segment() -> Callable[..., ResultSegment]:
    """A structure by name ("left kidney") with the mask it was given."""

    def build(
        name: str, voxels: Any, cielab: tuple[float, float, float] = (58.0, 46.0, 40.0)
    ) -> ResultSegment:
        side = {"left": _LEFT, "right": _RIGHT}.get(name.split()[0])
        category = Code("91723000", "SCT", "Anatomical Structure")
        kind = _TYPES[name.split()[-1]]
        tracking_id = name.replace(" ", "_")
        return ResultSegment(name, category, kind, side, cielab, tracking_id, Voxels.of(voxels))

    return build


@pytest.fixture(scope="session")
def drawn(segment: Callable[..., ResultSegment]) -> Callable[..., list[ResultSegment]]:
    """The phantom's own masks as segments."""

    def build(phantom: phantoms.Phantom, *names: str) -> list[ResultSegment]:
        masks: Mapping[str, Any] = phantom.masks
        return [segment(name, masks[name]) for name in names]

    return build


@pytest.fixture
def write(tmp_path: Path, algorithm: Algorithm, identity: ResultIdentity) -> Callable[..., Dataset]:
    """Writes a SEG and reads the file back."""

    def run(volume: SourceVolume, segments: list[ResultSegment], **changes: Any) -> Dataset:
        path = tmp_path / "out" / "seg.dcm"
        made_by = {"algorithm": algorithm, "identity": identity, **changes}
        content = ResultContent(volume, segments, (), **made_by)
        written = write_result(SegmentationWriter(), content, path)
        return dcmread(written.path)

    return run


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., phantoms.Phantom]:
    """CT of HU + 1024, unsigned, with these attributes beside it.

    `spoil(array, z)` changes the stored values.
    """

    def build(
        spoil: Any | None = None,
        *,
        rescale: Any = lambda z: (1.0, -1024.0),
        signed: bool = False,
        **values: Any,
    ) -> phantoms.Phantom:
        look = phantoms.Look(signed=signed, rescale=rescale)
        hu, _ = phantoms.anatomy(phantoms.Grid(SMALL["shape"], SMALL["spacing_mm"]))
        array = (hu + 1024).astype(np.int16)
        for z in range(len(array)):
            if spoil:
                spoil(array[z], z)

        # the builder is told what comes out, so that it stores what was made here
        come_out = np.stack(
            [
                plane * (rescale(z)[0] if rescale else 1.0) + (rescale(z)[1] if rescale else 0.0)
                for z, plane in enumerate(array)
            ]
        ).astype(np.int16)
        return phantoms.torso_ct(
            tmp_path, look=look, hu=come_out, edit=phantoms.setting(**values), **SMALL
        )

    return build
