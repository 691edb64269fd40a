"""The processes of a node: `supervisor.py` starts them and ends them."""
