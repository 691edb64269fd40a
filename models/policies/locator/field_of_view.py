"""How unlike anything learnt a view is: whole cross-sections of the body were, and no parts of it.

Measured as the share of a slice's edge that the body reaches over, on the 121 training slices and
on a square part of each, 0.35 to 0.7 of its side (`augment.cropped`, about 130 to 250 mm). It is
0.165 at most on the slices, and above 0.17 on 118 of the 121 parts:

    python -m models.policies.locator.field_of_view --data ../shared/data/btcv
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.policies.locator.augment import cropped, hounsfield, windowed
from models.policies.locator.btcv import read_btcv
from models.policies.locator.knowledge import BODY_LEVEL

MOST_AT_EDGE = 0.17
"""Of a slice's edge: where the body reaches over more of it, the view cuts the body."""

LOOKED_AT = 9  # slices of a volume, evenly spread


def share_at_edge(image: NDArray[np.float32]) -> float:
    """The share of a windowed slice's edge pixels that are body, 0..1; `image` (rows, columns)."""
    body = image > BODY_LEVEL
    edge = np.concatenate([body[0], body[-1], body[1:-1, 0], body[1:-1, -1]])
    return float(edge.mean())


def doubt_of_view(images: Iterable[NDArray[np.float32]]) -> str:
    """A sentence where the windowed slices (rows, columns) cut the body; "" where they show it
    whole, or where there are none.
    """
    shares = [share_at_edge(image) for image in images]
    median = float(np.median(shares)) if shares else 0.0
    if median <= MOST_AT_EDGE:
        return ""
    return (
        "the view is unlike those that were learnt, whole cross-sections: the body reaches over "
        f"{median:.0%} of its edge, so structures may be mistaken for others or missed"
    )


def main(arguments: list[str] | None = None) -> None:
    """Count the slices and the parts of slices that are taken for parts of a body."""
    parser = argparse.ArgumentParser(description="Measure the view's doubt on the BTCV slices.")
    parser.add_argument("--data", type=Path, required=True, help="folder with dataset.json")
    folder, rng = parser.parse_args(arguments).data, np.random.default_rng(0)
    whole, parts = [], []
    for labelled in read_btcv(folder, "training"):
        hu = hounsfield(labelled.pixels)
        whole.append(share_at_edge(windowed(hu)))
        parts.append(share_at_edge(windowed(cropped(hu, labelled.labels, rng)[0])))
    for name, shares in (("whole slices", whole), ("parts of slices", parts)):
        count = sum(share > MOST_AT_EDGE for share in shares)
        print(f"{name}: {count} of {len(shares)} doubted, largest share {max(shares):.3f}")  # noqa: T201  a command


if __name__ == "__main__":
    main()
