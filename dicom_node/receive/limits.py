"""What peers may take of us, all listener processes together."""

from __future__ import annotations

from dataclasses import dataclass

# PS3.8 has no upper bound for the variable fields of an A-ASSOCIATE-RQ; 128 contexts of 20 transfer
# syntaxes take 60 kB
MAX_REQUEST_BYTES = 1 << 16
# no command set has more than some hundred bytes (PS3.7 annex E)
MAX_COMMAND_BYTES = 1 << 14
# what is still read of a data set that was refused, so that the peer hears why; then the
# association is aborted
MAX_DRAINED_BYTES = 1 << 30


@dataclass(frozen=True)
class PeerLimits:
    """What peers may take of us.

    `associations` at once, refused with "local limit exceeded" above, and of these
    `associations_per_address`; up to `connections` with and without one, `connections_per_address`
    of them: above, the oldest that has asked for nothing makes room. `request_timeout_s` for the
    whole request for an association (ARTIM, PS3.8 9.1.5); `stall_timeout_s` for a whole PDU;
    `idle_timeout_s` without an instance before we abort: C-ECHO keeps nothing open. An association
    on which nothing was stored gives way to a new one when there are too many: at once if C-ECHO
    was all it did, else after `unused_s`. `pdu_bytes` is the longest PDU that we announce and take.
    """

    associations: int = 50
    associations_per_address: int = 25
    connections_per_address: int = 100
    request_timeout_s: float = 10.0
    idle_timeout_s: float = 120.0
    stall_timeout_s: float = 30.0
    unused_s: float = 5.0
    pdu_bytes: int = 1 << 17

    @property
    def connections(self) -> int:
        """Connections at once, with or without an association."""
        return 4 * self.associations
