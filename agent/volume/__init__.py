"""A target through a volume: `run.py` goes from the key slices to the reviewed mask."""
