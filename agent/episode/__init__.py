"""One target on one slice, turn by turn: start with `loop.py`, then `state.py`."""
