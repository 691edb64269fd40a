"""How an association ends before its time.

AssociationEnded
├── PeerLost        the connection is gone: there is nobody to tell
├── PeerReleased    as it should be: the peer has asked for the release
├── PeerSilent      a deadline has passed
├── ProtocolError   bytes that PS3.8 or PS3.7 do not allow here
└── EndedByUs       the node stops, or the place is wanted
"""

from __future__ import annotations

# PS3.8 table 9-26: sources of an A-ABORT, and reasons of the service provider
BY_USER, BY_PROVIDER = 0, 2
REASON_NOT_SPECIFIED, UNRECOGNIZED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER = 0, 1, 2, 6


class AssociationEnded(Exception):
    """The association is over; the message says why, for the log."""


class PeerLost(AssociationEnded):
    """The connection is gone, or the peer has aborted."""


class PeerReleased(AssociationEnded):
    """The peer has asked for the release."""


class PeerSilent(AssociationEnded):
    """A deadline has passed."""


class EndedByUs(AssociationEnded):
    """The node stops, or somebody else wants the place."""


class ProtocolError(AssociationEnded):
    """Bytes that are not allowed here.

    `source` and `reason` are for the A-ABORT (PS3.8 table 9-26).
    """

    def __init__(
        self, message: str, *, source: int = BY_PROVIDER, reason: int = INVALID_PARAMETER
    ) -> None:
        self.source, self.reason = source, reason
        super().__init__(message)
