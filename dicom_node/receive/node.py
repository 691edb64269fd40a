"""Who this node is to its peers."""

from __future__ import annotations

from dataclasses import dataclass, field

from dicom_node.receive.allowed import Allowed
from dicom_node.receive.limits import Limits


@dataclass(frozen=True)
class Node:
    """Who we are to our peers: our AE title, who may call us, what they may take of us.

    With `reference` every association is served by pynetdicom: that is what our own path is
    compared with.
    """

    ae_title: str
    allowed: Allowed = field(default_factory=Allowed)
    limits: Limits = field(default_factory=Limits)
    reference: bool = False
