"""The loop: turns, actions, prompts, through the volume. numpy, scipy.ndimage and the standard
library only.
"""
