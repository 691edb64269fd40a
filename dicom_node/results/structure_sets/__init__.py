"""What was drawn as contours: RTSTRUCT for planning systems and viewers without SEG."""
