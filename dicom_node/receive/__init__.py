"""The receive path: stores are read straight into files, within bounds of bytes and time.

`listener.py` is read first.

Everything is read here first; what is more than storage and verification is handed to pynetdicom
afterwards (handover.py).
"""
