"""What people look at: the figures of a run as one HTML file, with curves and pictures."""
