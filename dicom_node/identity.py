"""Who we are on the wire and in the files we write."""

from __future__ import annotations

# PS3.7 D.3.3.2: the implementation, not the installation, so it is the same everywhere (PS3.5 B.2:
# a UUID under 2.25).
IMPLEMENTATION_CLASS_UID = "2.25.284863097284762258175406546082280862079"
IMPLEMENTATION_VERSION_NAME = "SEGNODE_0_1"  # at most 16 characters

# Manufacturer of what we write (PS3.3 C.7.5.1), by which our own results are known when a PACS
# routes them back.
MANUFACTURER = "Segnode"
