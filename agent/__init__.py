"""The agent: turns on a slice, targets through a volume. Start with `ports.py`, then `episode/`.

It needs numpy, scipy.ndimage and the standard library only.
"""
