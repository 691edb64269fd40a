"""What the locator can be asked for, by itself: it is asked before the network is loaded."""

from __future__ import annotations

from agent.knowledge import Knowledge

ORGANS = (
    "spleen",
    "right_kidney",
    "left_kidney",
    "gallbladder",
    "esophagus",
    "liver",
    "stomach",
    "aorta",
    "inferior_vena_cava",
    "portal_and_splenic_vein",
    "pancreas",
    "right_adrenal_gland",
    "left_adrenal_gland",
)
"""Keys of the catalogue in the order of the network's classes; class 0 is the background."""

RIGHT_LUNG, LEFT_LUNG = "right_lung", "left_lung"
LUNGS = (RIGHT_LUNG, LEFT_LUNG)
KNOWN = ORGANS + LUNGS

KNOWLEDGE = Knowledge(KNOWN, ("CT",), exclusive=True)
