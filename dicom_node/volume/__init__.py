"""From slices to numbers: `volume.py` reads a stack as one array in the unit of its modality."""
