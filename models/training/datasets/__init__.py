"""Data sets as cases: `opening.py` is read first, then a layout in `layouts/`."""
