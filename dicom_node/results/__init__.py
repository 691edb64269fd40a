"""What goes back: `segmentation.py` writes the SEG, `report.py` the SR.

Each is checked by reading it again.
"""
