"""The receive path: associations that store are read straight into files, within bounds of bytes
and time.

Everything is read here first; what is more than storage and verification is handed to pynetdicom
afterwards (handover.py).
"""
