"""What measurement reports (TID 1500) share, and the one whose diameters are lines on an image."""
