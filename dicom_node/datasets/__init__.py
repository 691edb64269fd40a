"""Data sets in files, read tolerantly.

`dataset_files.py`, opened first, reads a file; `attribute_values.py` reads one attribute.
"""
