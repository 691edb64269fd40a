"""Where results go."""

from __future__ import annotations

from dicom_node.ports import Destination
from dicom_node.result_kinds import DEFAULT_KINDS, ResultKind
from dicom_node.send.sender import DeliveryTimeouts, DicomDestination
from server.settings import Settings


def destinations(settings: Settings) -> tuple[Destination, ...]:
    """The configured destinations, in their order."""
    timeout_s = settings.delivery.timeout_s
    timeouts = DeliveryTimeouts(acse_s=timeout_s, dimse_s=timeout_s, network_s=timeout_s)
    return tuple(
        DicomDestination(
            configured.name,
            configured.ae_title,
            configured.host,
            configured.port,
            calling_ae_title=settings.node.ae_title,
            timeouts=timeouts,
            kinds=configured.kinds,
            segmentation=configured.segmentation,
        )
        for configured in settings.destinations
    )


def kinds_wanted(settings: Settings) -> frozenset[ResultKind]:
    """What is written of every request: the usual kinds, and those that a destination names."""
    named = [kind for configured in settings.destinations for kind in configured.kinds]
    return frozenset((*DEFAULT_KINDS, *named))
