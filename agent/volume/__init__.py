"""A target through a volume: `order.py` goes from the key slices to the reviewed mask."""
