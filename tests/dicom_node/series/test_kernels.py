"""Which convolution kernels are taken for sharp ones."""

from __future__ import annotations

import pytest

from dicom_node.series.kernels import is_sharp


@pytest.mark.parametrize(
    "kernel",
    ["LUNG", "bone", " BONEPLUS ", "B60f", "B70s", "Br64d\\3", "Bl60", "YC"],
)
def test_bone_and_lung_are_sharp(kernel: str) -> None:
    assert is_sharp(kernel)


@pytest.mark.parametrize(
    "kernel",
    [
        "STANDARD",
        "SOFT",
        "B30f",
        "B59f",  # the last below the bound
        "I31s\\80",  # only the first value is the kernel
        "FC08",
        "C",
        "",
        "LUNGE",  # a name, not its beginning
    ],
)
def test_kernels_for_organs_are_not(kernel: str) -> None:
    assert not is_sharp(kernel)
