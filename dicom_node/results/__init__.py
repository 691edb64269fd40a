"""What goes back: `segmentation.py` writes the SEG, `report.py` the SR; each is checked by reading
it again.
"""
