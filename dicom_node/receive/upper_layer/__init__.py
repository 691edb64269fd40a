"""The upper layer protocol (PS3.8) and DIMSE (PS3.7) of an association.

`association.py` is read first.
"""
