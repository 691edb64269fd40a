"""What goes back: `segmentation.py` writes the SEG, `report.py` the SR, `structured_reports/` what
reports share and the one with diameters as lines.

Each is checked by reading it again.
"""
