"""What models run on: `resources.py` says which device, precision and memory they may have."""
