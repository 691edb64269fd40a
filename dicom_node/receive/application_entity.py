"""Who this node is to its peers."""

from __future__ import annotations

from dataclasses import dataclass, field

from dicom_node.receive.allowed import AllowedPeers
from dicom_node.receive.limits import PeerLimits


@dataclass(frozen=True)
class ApplicationEntity:
    """Who we are to our peers: our AE title, who may call us, what they may take of us.

    With `reference` every association is served by pynetdicom: that is what our own path is
    compared with.
    """

    ae_title: str
    allowed: AllowedPeers = field(default_factory=AllowedPeers)
    limits: PeerLimits = field(default_factory=PeerLimits)
    reference: bool = False
