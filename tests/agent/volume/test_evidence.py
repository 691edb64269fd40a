"""What a survey's figures say by themselves."""

from __future__ import annotations

import pytest

from agent.volume.evidence import likeliest, longest_run, thin_evidence


@pytest.mark.parametrize(
    ("presence", "step_mm", "thin"),
    [
        ((0.1, 0.99, 0.1), 2.0, True),
        ((0.1, 0.5, 0.5, 0.1), 2.0, True),
        ((0.5, 0.5, 0.5, 0.1), 2.0, False),
        ((0.1, 0.99, 0.1), 6.0, False),
        ((0.99,), 1.0, False),  # the whole volume is no thicker
        ((0.9, 0.1, 0.9, 0.1, 0.9), 2.0, True),  # what lies apart is not added up
        ((0.49,) * 9, 2.0, False),
        ((), 2.0, False),
    ],
)
def test_evidence_is_thin_below_six_millimetres_of_neighbouring_slices(
    presence: tuple[float, ...], step_mm: float, *, thin: bool
) -> None:
    assert bool(thin_evidence(presence, step_mm)) is thin


def test_thin_evidence_is_told_in_slices_and_millimetres() -> None:
    sentence = thin_evidence((0.1, 0.99, 0.1, 0.1), 2.0)

    assert sentence == "it is likely on one slice (2 mm) only, where at least 6 mm are expected"
    assert "2 neighbouring slices (4 mm)" in thin_evidence((0.9, 0.9, 0.1, 0.1), 2.0)


def test_the_likeliest_slice_and_the_longest_run() -> None:
    assert likeliest((0.2, 0.7)) == 0.7
    assert likeliest(()) == 0.0
    assert longest_run((0.5, 0.4, 0.6, 0.6, 0.6, 0.1, 0.9)) == 3
