"""Rows of the node's own processes: `workers.py` and `parts.py`."""
