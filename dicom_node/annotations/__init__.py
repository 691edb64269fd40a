"""What readers drew, on the grid of the images they drew it on: `segmentation_masks.py` first."""
