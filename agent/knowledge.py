"""What a policy can be asked for: structures and kinds of images."""

from __future__ import annotations

from dataclasses import dataclass

from agent.values import Target

UNTOLD = ("", "OT")
"""Modalities of an image that does not tell its own: none, or DICOM's "other"
(PS3.3 C.7.3.1.1.1), as a grey picture may be of anything.
"""


@dataclass(frozen=True)
class Knowledge:
    """The `structures` (keys of the catalogue) and `modalities` (as in DICOM) that a policy was
    made for; None: any. `exclusive` where no voxel belongs to two of the structures.
    """

    structures: tuple[str, ...] | None = None
    modalities: tuple[str, ...] | None = None
    exclusive: bool = False

    def knows(self, target: Target) -> bool:
        """Whether the policy can look for `target`, by its key or, without one, by its name."""
        if self.structures is None:
            return True
        key = target.structure or target.text.strip().lower().replace(" ", "_")
        return key in self.structures

    def suits(self, modality: str) -> bool:
        """Whether the policy was made for images of `modality`, or may take one for such."""
        return self.modalities is None or modality in (*self.modalities, *UNTOLD)


ANYTHING = Knowledge()
"""Of a policy that can be asked for any structure in any image."""
