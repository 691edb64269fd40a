"""Data sets in files, read tolerantly: `dataset_files.py` opens one, `attribute_values.py` reads
one attribute.
"""
