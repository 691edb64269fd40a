"""Convolution kernels of CT: soft ones for organs, sharp ones for bone and lung."""

from __future__ import annotations

# Sharp kernels sharpen, and noise hides soft organs. Siemens numbers: 60 and above.
_SHARP = frozenset({"LUNG", "BONE", "BONEPLUS", "EDGE", "ULTRA", "L", "YC", "YD", "D", "E"})
_SHARP_SIEMENS = 60


def is_sharp(kernel: str) -> bool:
    """Whether a Convolution Kernel (its values joined by backslashes) is for bone or lung."""
    name = kernel.partition("\\")[0].strip().upper()
    digits = "".join(character for character in name if character.isdigit())[:2]
    return name in _SHARP or (digits.isdigit() and int(digits) >= _SHARP_SIEMENS)
