"""Promptable segmenters; `litemedsam.py` is the smallest and is read first."""
