"""`segnode models dump`: a case through a segmenter's network, for comparison elsewhere."""

from models.parity import dump

__all__ = ["dump"]
