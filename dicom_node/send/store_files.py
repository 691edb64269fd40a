"""A modality for trials: sends DICOM files to a node as they are, in any transfer syntax."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE

from dicom_node.errors import PermanentDeliveryError, TransientDeliveryError
from dicom_node.statuses import SUCCESS


def send_files(
    paths: Sequence[Path], *, calling_ae_title: str, ae_title: str, host: str, port: int
) -> Iterator[Path]:
    """C-STORE each file in one association and yield it once the node has answered that it is kept.

    TransientDeliveryError when the node cannot be reached or ends the association,
    PermanentDeliveryError when it refuses an instance.
    """
    entity = AE(ae_title=calling_ae_title)
    metas = [dcmread(path, stop_before_pixels=True).file_meta for path in paths]
    for sop_class, syntax in sorted(
        {(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID) for meta in metas}
    ):
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate(host, port, ae_title=ae_title)
    if not association.is_established:
        raise TransientDeliveryError(
            f"no association with {ae_title} at {host}:{port}", destination=ae_title
        )
    try:
        for path in paths:
            answer = association.send_c_store(path)
            if "Status" not in answer:
                raise TransientDeliveryError("the association ended", destination=ae_title)
            if answer.Status != SUCCESS:
                raise PermanentDeliveryError(
                    f"{path.name} was refused with 0x{answer.Status:04X}",
                    destination=ae_title,
                    status=int(answer.Status),
                )
            yield path
    finally:
        association.release()
