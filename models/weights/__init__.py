"""Weights: what is known (`manifest.py`), what is here (`weights.py`), how the rest is fetched."""
