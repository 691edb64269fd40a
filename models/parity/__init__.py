"""What a network computes for a case, as arrays that trials outside compare with upstream's own."""

from models.parity.case import dump

__all__ = ["dump"]
