"""One slice and one target, turn by turn: `loop.py` is the episode."""
