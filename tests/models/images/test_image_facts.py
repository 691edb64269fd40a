"""What is known of how an image lies: told of a grid that is placed, and of no other."""

from __future__ import annotations

import numpy as np
import pytest

from agent.geometry import Geometry
from agent.values import ImageFacts, Volume
from models.images.image_facts import facts_of

AXES = {
    "R": (-1, 0, 0),
    "L": (1, 0, 0),
    "A": (0, -1, 0),
    "P": (0, 1, 0),
    "I": (0, 0, -1),
    "S": (0, 0, 1),
}


def lying(axes: str, turned_degrees: float = 0.0) -> Volume:
    """One slice whose z, y and x rise to `axes`, turned about x."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([AXES[letter] for letter in axes], dtype=float).T
    angle = np.deg2rad(turned_degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    affine[:3, :3] = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ affine[:3, :3]
    return Volume(np.zeros((1, 8, 8), dtype=np.float32), Geometry((1, 8, 8), affine), "CT")


@pytest.mark.parametrize(
    ("axes", "facts"),
    [
        ("SPL", ImageFacts("axial", "right", "front", sized=True)),
        ("IAR", ImageFacts("axial", "left", "back", sized=True)),
        ("PIL", ImageFacts("coronal", "right", "head", sized=True)),
        ("LIP", ImageFacts("sagittal", "front", "head", sized=True)),
    ],
)
def test_plane_and_sides(axes: str, facts: ImageFacts) -> None:
    assert facts_of(lying(axes)) == facts


def test_what_lies_between_the_axes_has_no_name() -> None:
    oblique = facts_of(lying("SPL", turned_degrees=44))

    assert (oblique.plane, oblique.left, oblique.top) == ("", "right", "")
    assert facts_of(lying("SPL", turned_degrees=30)).plane == "axial"


def test_of_a_picture_nothing_is_known() -> None:
    volume = lying("SPL")

    picture = Volume(volume.intensities, volume.geometry, "OT", placed=False, sized=False)

    assert facts_of(picture) == ImageFacts()


def test_scale_and_contrast_are_told_of_what_has_no_place() -> None:
    volume = lying("SPL")

    radiograph = Volume(volume.intensities, volume.geometry, "DX", placed=False, contrast=True)

    assert facts_of(radiograph) == ImageFacts(sized=True, contrast=True)
